"""The pocket text: 800 short documents, written in parallel in English, German, Arabic and Vietnamese.

A document is one line. Paragraphs and stories are their sentences joined by a space; a reading-comprehension context
is followed by its questions and answers; a word problem by its solution. Every language has the same documents in the
same order, so one split serves all: a document is held out in every language or in none. A model that has seen the
English training side has therefore seen neither side of any held-out document.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources
from pathlib import Path

LANGUAGES = ("en", "de", "ar", "vi")
PARALLEL = ("everyday", "nature", "society", "practical", "places", "stories", "tales")
VALID_SHARE = 0.08


def documents(language: str, split: str = "train") -> list[str]:
    """The documents of one language's "train" or "valid" split, one line each.

    Errors: ValueError for an unknown language or split.
    """
    if language not in LANGUAGES:
        raise ValueError(f"language {language!r} is not one of {', '.join(LANGUAGES)}")
    if split not in ("train", "valid"):
        raise ValueError(f"split {split!r} is neither 'train' nor 'valid'")
    return [text[language] for doc, text in _all_documents().items() if split_of(doc) == split]


def split_of(doc: str) -> str:
    """Where a document id belongs: the first 32 bits of its SHA-256, as a fraction of one, below `VALID_SHARE`."""
    fraction = int.from_bytes(hashlib.sha256(doc.encode()).digest()[:4], "big") / 2**32
    return "valid" if fraction < VALID_SHARE else "train"


def mostly_english(language: str, share: float) -> list[str]:
    """All English training documents, with a little of another language mixed in evenly, as web text has it.

    `share` (0 to 1) is the part of that language's own training documents that is added.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share {share} is not between 0 and 1")
    mixed: list[str] = []
    for number, (english, other) in enumerate(zip(documents("en"), documents(language), strict=True)):
        mixed.append(english)
        if int((number + 1) * share) > int(number * share):
            mixed.append(other)
    return mixed


def write_text(lines: Iterable[str], path: str | Path) -> Path:
    """One document a line, UTF-8, ended by \\n only."""
    path = Path(path)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    return path


@cache
def _all_documents() -> dict[str, dict[str, str]]:
    """Document id -> language -> text, in the order of the files."""
    sentences: dict[str, dict[str, list[str]]] = {}

    def add(doc: str, text: dict[str, str]) -> None:
        for language in LANGUAGES:
            sentences.setdefault(doc, {}).setdefault(language, []).append(text[language])

    for name in PARALLEL:
        for row in _rows(name):
            add(row["doc"], row)
    context_ids: dict[str, str] = {}  # several questions share a context: one document, named after its first question
    for row in _rows("qa"):
        doc = context_ids.setdefault(row["context"]["en"], row["id"])
        if doc == row["id"]:
            add(doc, row["context"])
        add(doc, row["question"])
        add(doc, row["answer"])
    for row in _rows("maths"):
        add(row["id"], row["question"])
        add(row["id"], row["solution"])
    return {doc: {language: " ".join(parts) for language, parts in text.items()} for doc, text in sentences.items()}


def _rows(name: str) -> Iterator[dict]:
    path = resources.files("saltjax.pocket") / "text" / f"{name}.jsonl"
    for line in path.read_bytes().split(b"\n"):
        if line:
            yield json.loads(line)
