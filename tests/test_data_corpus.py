import gzip
import lzma

import pytest

from saltjax.data.corpus import TextFile, documents
from saltjax.errors import UserError


def write(path, data):
    path.write_bytes(data)
    return path


def test_a_line_is_a_document_and_ends_at_newline_only(tmp_path):
    text = "eins\r\n\nzwei\u2028halb\x0b\x0c\x85\n \nletzte\rZeile"
    path = write(tmp_path / "a.txt", text.encode())
    assert list(documents(path)) == ["eins\r", "zwei\u2028halb\x0b\x0c\x85", " ", "letzte\rZeile"]


def test_blank_layout_keeps_the_lines_of_a_document(tmp_path):
    path = write(tmp_path / "a.txt", b"\n\none\ntwo\n \t\r\n\nthree\n\nfour")
    assert list(documents(path, "blank")) == ["one\ntwo", "three", "four"]


def test_byte_order_mark_is_not_text_but_only_at_the_start(tmp_path):
    path = write(tmp_path / "a.txt", "\ufeffä\n\ufeffb\n".encode())
    assert list(documents(path)) == ["ä", "\ufeffb"]


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.xz", "a.txt.zst", "a.txt"])
@pytest.mark.parametrize("packing", ["gzip", "lzma", "zstd"])
def test_packed_files_are_told_by_their_bytes(tmp_path, name, packing):
    pa = pytest.importorskip("pyarrow")
    zstd = lambda data: pa.Codec("zstd").compress(data, asbytes=True)  # noqa: E731
    compress = {"gzip": gzip.compress, "lzma": lzma.compress, "zstd": zstd}[packing]
    # Two streams one after the other, as `cat a.gz b.gz` makes.
    path = write(tmp_path / name, compress(b"eins\nzw") + compress("ölf\n".encode()))
    assert list(documents(path)) == ["eins", "zwölf"]


@pytest.mark.parametrize("packing", ["gzip", "lzma", "zstd"])
def test_a_truncated_packed_file_is_an_error_not_a_shorter_text(tmp_path, packing):
    pa = pytest.importorskip("pyarrow")
    zstd = lambda data: pa.Codec("zstd").compress(data, asbytes=True)  # noqa: E731
    compress = {"gzip": gzip.compress, "lzma": lzma.compress, "zstd": zstd}[packing]
    data = compress(b"".join(b"line %d\n" % i for i in range(10_000)))
    path = write(tmp_path / "a.txt.x", data[: len(data) // 2])
    with pytest.raises(UserError, match=r"a\.txt\.x cannot be read after byte \d+"):
        list(documents(path))


@pytest.mark.parametrize("prefix, offset", [(b"", 14), (b"\xef\xbb\xbf", 17)])
def test_invalid_utf8_names_file_line_and_byte_offset(tmp_path, prefix, offset):
    path = write(tmp_path / "latin.txt", prefix + "größe\n".encode() + b"sch\xc3\xb6\xf6n\n")
    assert path.read_bytes()[offset - 1] in (0xF6, 0xB6) or path.read_bytes()[offset] == 0xF6
    reading = documents(path)
    assert next(reading) == "größe"
    with pytest.raises(UserError, match=rf"latin\.txt is not UTF-8: byte 0xf6 at offset {offset - 1} \(line 2\)"):
        next(reading)
    assert path.read_bytes()[offset - 1] == 0xF6


def test_bad_files(tmp_path):
    cases = {
        "missing.txt": "does not exist",
        "directory": "is a directory",
        "empty.txt": "holds no document",
        "newlines.txt": "holds no document",
        "utf16.txt": "byte 0xff at offset 0",
        "cut.txt": "byte 0xc3 at offset 2",
    }
    (tmp_path / "directory").mkdir()
    write(tmp_path / "empty.txt", b"")
    write(tmp_path / "newlines.txt", b"\n\n\n")
    write(tmp_path / "utf16.txt", "text\n".encode("utf-16"))
    write(tmp_path / "cut.txt", b"ab\xc3")
    for name, message in cases.items():
        with pytest.raises(UserError, match=message) as caught:
            list(documents(tmp_path / name))
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UserError, match="layout='paragraph'"):
        list(documents(tmp_path / "cut.txt", "paragraph"))


def test_reading_streams(tmp_path):
    # What comes before the broken place has been given already.
    path = write(tmp_path / "a.txt", b"good\n" * 1000 + b"\xff")
    reading = documents(path)
    assert [next(reading) for _ in range(1000)] == ["good"] * 1000
    with pytest.raises(UserError, match="line 1001"):
        next(reading)


def test_fingerprint_is_of_content_and_layout(tmp_path):
    a, b = write(tmp_path / "a.txt", b"x\n"), write(tmp_path / "b.txt", b"x\n")
    assert TextFile(a).fingerprint() == TextFile(b).fingerprint() != TextFile(a, "blank").fingerprint()
    before = TextFile(a).fingerprint()
    write(a, b"y\n")
    assert TextFile(a).fingerprint() != before
