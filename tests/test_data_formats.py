"""JSON lines, Parquet, Arrow, folders, patterns and URLs: the same documents from all of them."""

import gzip
import json
import lzma

import fsspec
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from saltjax.data.columns import END_OF_STREAM, ArrowFile, ParquetFile
from saltjax.data.corpus import JsonLines, Source, TextFile, documents, file_source
from saltjax.data.folder import sources_of
from saltjax.data.tfds import TfdsSplit
from saltjax.errors import UserError

TEXTS = ["Grüße\nzwei Zeilen", "", "日本語 \u2028 end", None, *(f"Satz {i}" for i in range(3000))]
EXPECTED = [text for text in TEXTS if text]
TABLE = pa.table({"id": range(len(TEXTS)), "text": TEXTS, "title": ["t"] * len(TEXTS)})


def jsonl(texts=TEXTS, **more):
    return "".join(json.dumps({"text": text, **more}) + "\n" for text in texts).encode()


def write_stream(path, table=TABLE):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=700)
    return path


def zstd(data):
    return pa.Codec("zstd").compress(data, asbytes=True)


def write(path, data=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


FILES = {
    "a.jsonl": lambda path: write(path, jsonl()),
    "a.ndjson.gz": lambda path: write(path, gzip.compress(jsonl())),
    "a.json.zst": lambda path: write(path, zstd(jsonl())),
    "a.jsonl.xz": lambda path: write(path, lzma.compress(jsonl())),
    "a.parquet": lambda path: pq.write_table(TABLE, path, row_group_size=900),
    "b.parquet": lambda path: pq.write_table(TABLE, path, use_dictionary=False, compression="zstd"),
    "a.arrow": write_stream,
    "b.arrow": lambda path: feather.write_feather(TABLE, str(path), compression="lz4", chunksize=800),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_gives_its_texts_says_how_far_it_is_and_has_a_fingerprint(tmp_path, name):
    path = tmp_path / name
    FILES[name](path)
    source, read = file_source(path), []
    assert isinstance(source, Source)
    assert list(source.documents(read.append)) == EXPECTED
    assert sum(read) == source.stamp().size == path.stat().st_size
    titles = file_source(path, field="title") if "json" not in name else None
    if titles:
        assert list(titles.documents()) == ["t"] * len(TEXTS)
        assert titles.fingerprint() != source.fingerprint()
    before = source.fingerprint()
    assert before == file_source(path).fingerprint()
    copy = write(tmp_path / "elsewhere" / name, path.read_bytes())
    assert file_source(copy).fingerprint() == before
    path.write_bytes(path.read_bytes() + b"\n")
    assert source.fingerprint() != before


def test_text_formats_tell_their_progress_too(tmp_path):
    path = write(tmp_path / "a.txt.gz", gzip.compress(b"line\n" * 500_000))
    read = []
    assert sum(1 for _ in TextFile(path).documents(read.append)) == 500_000
    assert sum(read) == path.stat().st_size


def test_large_and_dictionary_strings_are_text(tmp_path):
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        table = pa.table({"text": pa.array(["eins", None, "zwei"]).cast(kind)})
        assert list(ArrowFile(write_stream(tmp_path / "a.arrow", table)).documents()) == ["eins", "zwei"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "a"', "line 3: not JSON .*column"),
        (b"[1]", "line 3: a list, not an object"),
        (b'{"body": "a", "id": 1}', "line 3: no field 'text'; there are body, id"),
        (b'{"text": 5}', "line 3: the text is a int, not a string"),
        (b'{"text": "\\ud800"}', "line 3: half of a surrogate pair at character 0"),
        (b'{"text": "\xff"}', r"not UTF-8: byte 0xff at offset \d+ \(line 3\)"),
        (b"[" * 100_000, "line 3: not JSON"),
    ],
)
def test_a_broken_line_of_json_is_named(tmp_path, line, message):
    path = write(tmp_path / "a.jsonl", b'{"text": "first"}\n \n' + line + b"\n")
    reading = JsonLines(path).documents()
    assert next(reading) == "first"
    with pytest.raises(UserError, match=message) as caught:
        next(reading)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_broken_columns_are_one_line(tmp_path):
    numbers = pa.table({"text": [1, 2]})
    latin = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.array([0, 2, 3], pa.int32()).buffers()[1], pa.py_buffer(b"ab\xff")]
    )
    pq.write_table(numbers, tmp_path / "numbers.parquet")
    pq.write_table(TABLE, tmp_path / "good.parquet")
    pq.write_table(pa.table({"text": pa.array([None, ""], pa.string())}), tmp_path / "empty.parquet")
    write(tmp_path / "cut.parquet", (tmp_path / "good.parquet").read_bytes()[:-100])
    damaged = bytearray((tmp_path / "good.parquet").read_bytes())
    at = pq.ParquetFile(tmp_path / "good.parquet").metadata.row_group(0).column(1).dictionary_page_offset
    damaged[at : at + 2000] = bytes(2000)
    write(tmp_path / "damaged.parquet", bytes(damaged))
    write(tmp_path / "text.parquet", b"text\n")
    write_stream(tmp_path / "latin.arrow", pa.table({"text": latin}))
    whole = write_stream(tmp_path / "good.arrow").read_bytes()
    assert whole.endswith(END_OF_STREAM)
    write(tmp_path / "open.arrow", whole[:-8])  # a writer that was killed
    write(tmp_path / "cut.arrow", whole[: len(whole) // 2])
    write(tmp_path / "tiny.arrow", b"abc")
    cases = {
        "numbers.parquet": "'text' holds int64, not strings",
        "empty.parquet": "holds no document",
        "cut.parquet": "cannot be read as Parquet",
        "damaged.parquet": "cannot be read as Parquet",
        "text.parquet": "cannot be read as Parquet",
        "none.parquet": "does not exist",
        "latin.arrow": "row 2: not UTF-8 at byte 0",
        "open.arrow": "its end is missing",
        "cut.arrow": "its end is missing",
        "tiny.arrow": "cannot be read as Arrow",
    }
    for name, message in cases.items():
        with pytest.raises(UserError, match=message) as caught:
            list(file_source(tmp_path / name).documents())
        assert name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no column 'body'; there are id, text, title"):
        list(ParquetFile(tmp_path / "good.parquet", "body").documents())


def names(found):
    return [str(source.path).rpartition("/")[2] for source in found.sources]


def test_a_folder_is_its_files_of_the_wanted_split(tmp_path):
    hub = tmp_path / "hub"
    for name in ("train-00001-of-00002", "train-00000-of-00002", "validation-00000-of-00001", "test-00000-of-00001"):
        write(hub / "data" / f"{name}.parquet")
    write(hub / "README.md")
    write(hub / "dataset_infos.json", b"{}")
    write(hub / ".cache" / "train.parquet")
    found = sources_of(hub)
    assert names(found) == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert len(found.left_out) == 2 and all(isinstance(source, ParquetFile) for source in found.sources)
    assert names(sources_of(hub, split="validation")) == ["validation-00000-of-00001.parquet"]
    with pytest.raises(UserError, match="split 'dev2'; there is test, train, validation"):
        sources_of(hub, split="dev2")
    assert names(sources_of(f"{hub}/data/*-of-00001.parquet")) == [
        "test-00000-of-00001.parquet",
        "validation-00000-of-00001.parquet",
    ]

    for name in ("a.txt", "b/c.txt.gz", "b/d.valid.txt"):
        write(tmp_path / "plain" / name)
    found = sources_of(tmp_path / "plain", layout="blank")
    assert names(found) == ["a.txt", "c.txt.gz"] and found.sources[0].layout == "blank"
    assert names(sources_of(f"{tmp_path}/plain/**/*.txt")) == ["a.txt", "d.valid.txt"]
    write(tmp_path / "plain" / "e.jsonl")
    with pytest.raises(UserError, match=r"holds jsonl and text; give a pattern"):
        sources_of(tmp_path / "plain")
    for path in ("none", "none/*.txt", "none.txt/"):
        with pytest.raises(UserError, match=r"does not exist|no file matches"):
            sources_of(tmp_path / path)
    write(tmp_path / "odd" / "a.pdf")
    with pytest.raises(UserError, match=r"no \.txt, \.jsonl"):
        sources_of(tmp_path / "odd")
    write(tmp_path / "what[1].txt", b"x\n")  # a name that looks like a pattern
    assert names(sources_of(tmp_path / "what[1].txt")) == ["what[1].txt"]


def test_what_datasets_saves_is_read_without_datasets(tmp_path):
    for split in ("train", "test"):
        parts = []
        for i, table in enumerate((TABLE.slice(0, 1500), TABLE.slice(1500))):
            parts.append({"filename": f"data-0000{i}-of-00002.arrow"})
            write(tmp_path / "set" / split / parts[-1]["filename"])
            write_stream(tmp_path / "set" / split / parts[-1]["filename"], table)
        write(tmp_path / "set" / split / "cache-0123.arrow", b"made by map()")
        write(tmp_path / "set" / split / "state.json", json.dumps({"_data_files": parts}).encode())
        write(tmp_path / "set" / split / "dataset_info.json", b'{"splits": {}}')
    write(tmp_path / "set" / "dataset_dict.json", b'{"splits": ["train", "test"]}')
    for path in (tmp_path / "set", tmp_path / "set" / "train"):
        found = sources_of(path).sources
        assert [text for source in found for text in source.documents()] == EXPECTED
    (tmp_path / "set" / "train" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(UserError, match=r"data-00001-of-00002.arrow does not exist, but .*state.json lists it"):
        sources_of(tmp_path / "set")


def test_a_prepared_tfds_directory_is_known(tmp_path):
    write(tmp_path / "dataset_info.json", b"{}")
    write(tmp_path / "features.json", b"{}")
    assert sources_of(tmp_path, "body", split="test").sources == [TfdsSplit(str(tmp_path), "test", "body")]


def test_urls_are_read_like_local_files(tmp_path):
    """Through fsspec's memory file system: what gs:// needs is the same calls."""
    memory = fsspec.filesystem("memory")
    pq.write_table(TABLE, tmp_path / "a.parquet")
    write_stream(tmp_path / "a.arrow")
    memory.pipe({
        "/bucket/de/train/a.jsonl.gz": gzip.compress(jsonl()),
        "/bucket/de/test/b.jsonl": jsonl(["x"]),
        "/bucket/pq/a.parquet": (tmp_path / "a.parquet").read_bytes(),
        "/bucket/a.arrow": (tmp_path / "a.arrow").read_bytes(),
    })  # fmt: skip
    places = ("memory://bucket/de", "memory://bucket/pq/*.parquet", "memory://bucket/a.arrow", "memory://bucket/pq")
    for path in places:
        (source,) = sources_of(path).sources
        assert list(source.documents()) == EXPECTED
        assert source.stamp() == source.stamp() and source.stamp().size > 0
    assert (
        file_source("memory://bucket/pq/a.parquet").fingerprint() == file_source(tmp_path / "a.parquet").fingerprint()
    )
    before = file_source("memory://bucket/de/test/b.jsonl").stamp()
    memory.pipe("/bucket/de/test/b.jsonl", jsonl(["y"]))
    assert file_source("memory://bucket/de/test/b.jsonl").stamp() != before
    with pytest.raises(UserError, match="does not exist"):
        list(documents("memory://bucket/none.txt"))
    with pytest.raises(UserError, match="nosuch://a/b cannot be opened"):
        sources_of("nosuch://a/b")


def test_held_out_text_may_be_json_lines(tmp_path):
    assert list(documents(write(tmp_path / "a.jsonl", jsonl()))) == EXPECTED
