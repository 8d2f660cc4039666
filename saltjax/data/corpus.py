"""Where documents come from: text files.

A source is anything with `documents()` and `fingerprint()` (see `Source`); `tfds.py` holds the other one.
"""

import gzip
import hashlib
import io
import itertools
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from saltjax.errors import UserError

LAYOUTS = ("line", "blank")


@runtime_checkable
class Source(Protocol):
    """Documents in a fixed order, and a fingerprint that changes whenever they could."""

    def documents(self) -> Iterator[str]: ...

    def fingerprint(self) -> str: ...


@dataclass(frozen=True)
class TextFile:
    """A UTF-8 text file, plain or packed with gzip, xz or zstd (told by its first bytes, not by its name).

    `layout="line"`: one line is one document. `layout="blank"`: documents are separated by lines of white space.
    """

    path: Path
    layout: str = "line"

    def documents(self) -> Iterator[str]:
        return documents(self.path, self.layout)

    def fingerprint(self) -> str:
        with _opened(self.path) as file:
            return f"{self.layout}:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def documents(path: str | Path, layout: str = "line") -> Iterator[str]:
    """The documents of a text file, one at a time; the file is never in memory as a whole.

    Lines end at `\\n` only: a carriage return, form feed or U+2028 is text. Empty documents are skipped, a byte order
    mark at the start of the file is not text. With `layout="blank"` a document keeps the line ends inside it.

    Raises UserError: the file is missing, cannot be read, is packed and broken, is not UTF-8 (with line and byte
    offset, counted in the unpacked text), or holds no document.
    """
    if layout not in LAYOUTS:
        raise UserError(f"layout={layout!r} is not known; choose from {', '.join(LAYOUTS)}")
    path = Path(path)
    lines = _lines(path)
    count = 0
    for document in lines if layout == "line" else _paragraphs(lines):
        if document:
            count += 1
            yield document
    if not count:
        raise UserError(f"{path} holds no document: the file is empty or has only empty lines")


def _paragraphs(lines: Iterator[str]) -> Iterator[str]:
    document: list[str] = []
    for line in lines:
        if line.strip():
            document.append(line)
        elif document:
            yield "\n".join(document)
            document = []
    if document:
        yield "\n".join(document)


def _lines(path: Path) -> Iterator[str]:
    offset = 0
    with _opened(path) as packed:
        lines = iter(_unpacked(packed))
        for number in itertools.count(1):
            try:
                raw = next(lines, None)
            except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
                raise UserError(f"{path} cannot be read after byte {offset} of its text: {error}") from None
            if raw is None:
                return
            # A line end is never part of a longer UTF-8 sequence, so lines can be decoded one by one.
            try:
                text = raw.removesuffix(b"\n").decode("utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path} is not UTF-8: byte 0x{raw[error.start]:02x} at offset {offset + error.start} "
                    f"(line {number}); convert it, for instance with iconv -f latin1 -t utf-8"
                ) from None
            yield text.removeprefix("\ufeff") if number == 1 else text
            offset += len(raw)


def _opened(path: Path) -> io.BufferedReader:
    if path.suffix in (".jsonl", ".json", ".parquet"):
        raise UserError(f"{path} is not plain text: text is read from files with one document a line (.txt, .gz, .xz)")
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise UserError(f"text file {path} does not exist") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a directory; give the text files in it") from None
    except OSError as error:
        raise UserError(f"text file {path} cannot be opened: {error.strerror}") from None


def _unpacked(file: io.BufferedReader) -> io.BufferedReader:
    # None of these first bytes can begin a UTF-8 text.
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return io.BufferedReader(gzip.open(file), 1 << 20)
    if magic == b"\xfd7zXZ\x00":
        return io.BufferedReader(lzma.open(file), 1 << 20)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow  # its decoder knows joined frames and notices a truncated file

        return io.BufferedReader(pyarrow.CompressedInputStream(file, "zstd"), 1 << 20)
    return file
