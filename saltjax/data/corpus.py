"""Where documents come from: what a source is, and the plainest two, text files and JSON lines.

A source is anything with the methods of `Source`; `columns.py` and `tfds.py` hold the others, `folder.py` finds the
sources that a path stands for.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from saltjax.data.columns import ArrowFile, ParquetFile
from saltjax.data.files import Read, Stamp, StoredFile, checked_text, ignore, lines
from saltjax.errors import UserError

LAYOUTS = ("line", "blank")


@runtime_checkable
class Source(Protocol):
    """Documents in a fixed order.

    `documents` streams them, none of them empty, and calls `read` with every number of stored bytes that it has read.
    `fingerprint` changes whenever they could, and not when a file is moved; it reads everything. `stamp` reads nothing.
    """

    def documents(self, read: Read = ignore) -> Iterator[str]: ...

    def fingerprint(self) -> str: ...

    def stamp(self) -> Stamp: ...


@dataclass(frozen=True)
class TextFile(StoredFile):
    """A UTF-8 text file, plain or packed (see `files.lines`).

    `layout="line"`: one line is one document. `layout="blank"`: documents are separated by lines of white space and
    keep the line ends inside them. Empty documents are skipped.

    Raises UserError: see `files.lines`; the file holds no document.
    """

    layout: str = "line"

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise UserError(f"layout={self.layout!r} is not known; choose from {', '.join(LAYOUTS)}")

    def documents(self, read: Read = ignore) -> Iterator[str]:
        text = (line for _, line in lines(self.path, read))
        count = 0
        for document in text if self.layout == "line" else _paragraphs(text):
            if document:
                count += 1
                yield document
        if not count:
            raise UserError(f"{self.path} holds no document: the file is empty or has only empty lines")

    def fingerprint(self) -> str:
        return f"{self.layout}:{self.sha256()}"


@dataclass(frozen=True)
class JsonLines(StoredFile):
    """One JSON object a line, plain or packed; a document is its string `field`, null and empty ones are skipped.

    Raises UserError: see `files.lines`; a line that is no such object, by its number; no document.
    """

    field: str = "text"

    def documents(self, read: Read = ignore) -> Iterator[str]:
        count = 0
        for number, line in lines(self.path, read):
            if line.strip() and (document := self._document(line, f"{self.path}, line {number}")):
                count += 1
                yield document
        if not count:
            raise UserError(f"{self.path} holds no document: no line has text in {self.field!r}")

    def fingerprint(self) -> str:
        return f"jsonl:{self.field}:{self.sha256()}"

    def _document(self, line: str, where: str) -> str:
        row = json_object(line, where, f"{{{json.dumps(self.field)}: ...}}")
        if self.field not in row:
            raise UserError(f"{where}: no field {self.field!r}; there are {', '.join(row) or 'none'}")
        return checked_text(row[self.field], where)


def json_object(line: str, where: str, such_as: str = "{...}") -> dict[str, Any]:
    """The object of a line of JSON lines. UserError, naming `where`: it is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        says = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise UserError(f"{where}: not JSON ({says}); one object is expected on each line") from None
    if not isinstance(row, dict):
        raise UserError(f"{where}: a {type(row).__name__}, not an object such as {such_as}")
    return row


def documents(path: str | Path, layout: str = "line") -> Iterator[str]:
    """The documents of a text file (`TextFile`); or of JSON lines, with their field `text`, if it is named .jsonl."""
    return file_source(path, layout=layout).documents()


def file_source(path: str | Path, layout: str = "line", field: str = "text") -> Source:
    """The source that a single file is, by its name: text if it says nothing else."""
    match kind_of(path):
        case "jsonl":
            return JsonLines(path, field)
        case "parquet":
            return ParquetFile(path, field)
        case "arrow":
            return ArrowFile(path, field)
    return TextFile(path, layout)


def kind_of(path: str | Path) -> str | None:
    """text, jsonl, parquet or arrow by the end of a file's name, packed or not; None for any other."""
    name = Path(path).name.lower()
    for packing in (".gz", ".xz", ".zst"):
        name = name.removesuffix(packing)
    kinds = {".txt": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
    return (kinds | {".parquet": "parquet", ".arrow": "arrow"}).get(Path(name).suffix)


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
