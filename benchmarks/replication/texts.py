"""Which part of the text is whose: the front trains the LLM and the PLMs, the end is for adaptation alone."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from settings import Setting

from saltjax.data.corpus import file_source
from saltjax.errors import UserError

PIECE = 2_000  # characters: long articles are cut, so that a megabyte holds many of them


@dataclass(frozen=True)
class Texts:
    """Of one language, one document a line. `plm`: the PLMs'; `aux`: its beginning, for auxiliary vectors; `train`: for
    adaptation; `valid`: held out. English has no `train`."""

    plm: Path
    aux: Path
    train: Path
    valid: Path


def prepared(folder: Path, work: Path, setting: Setting, languages: list[str]) -> dict[str, Texts]:
    """The texts of English and of each language, written once, from FOLDER/LANGUAGE.{train,valid}.txt[.xz].

    Raises UserError: a file is missing, or too short to keep the parts apart.
    """
    found = {}
    for language in ("en", *languages):
        parts = Texts(*(work / "text" / f"{language}.{part}.txt" for part in ("plm", "aux", "train", "valid")))
        if not parts.valid.exists():
            _divide(folder, language, parts, setting)
        found[language] = parts
    return found


def llm_text(work: Path, setting: Setting, texts: dict[str, Texts]) -> Path:
    """English and a little of each language, every one spread evenly over the whole."""
    path = work / "text" / "llm.txt"
    if not path.exists():
        parts = []
        for language, text in texts.items():
            megabytes = setting.megabytes_english if language == "en" else setting.megabytes_other
            parts.append(list(_front(file_source(text.plm).documents(), megabytes)))
        places = [((i + 0.5) / len(part), p, i) for p, part in enumerate(parts) for i in range(len(part))]
        _write(path, (parts[p][i] for _, p, i in sorted(places)))
    return path


def _divide(folder: Path, language: str, parts: Texts, setting: Setting) -> None:
    documents = list(file_source(text_file(folder, f"{language}.train.txt")).documents())
    last = 0 if language == "en" else setting.adapt_documents
    megabytes = setting.megabytes_english if language == "en" else setting.megabytes_plm
    before, after = documents[: len(documents) - last], documents[len(documents) - last :]
    pieces = list(_front((piece for document in before for piece in _pieces(document)), megabytes))
    size = sum(len(piece.encode()) for piece in pieces) / 1e6
    if size < megabytes:
        raise UserError(
            f"{folder}/{language}.train.txt: {size:.2f} MB in pieces before its last {last} documents, "
            f"but setting {setting.name} trains models on {megabytes:g}; give more text"
        )
    _write(parts.plm, pieces)
    _write(parts.aux, _front(iter(pieces), setting.megabytes_aux))
    _write(parts.train, after)
    valid = list(file_source(text_file(folder, f"{language}.valid.txt")).documents())[: setting.valid_documents]
    _write(parts.valid, (document[: setting.valid_characters].rsplit(" ", 1)[0] for document in valid))


def text_file(folder: Path, name: str) -> Path:
    found = [path for path in (folder / name, folder / f"{name}.xz") if path.exists()]
    if not found:
        raise UserError(f"{folder} holds neither {name} nor {name}.xz: one document a line is expected there")
    return found[0]


def _pieces(document: str) -> Iterator[str]:
    """Of whole sentences; what is left over at the end is dropped, unless it is all there is."""
    piece, whole = "", True
    for sentence in document.split(". "):
        piece += sentence + ". "
        if len(piece) >= PIECE:
            yield piece.strip()
            piece, whole = "", False
    if whole:
        yield document


def _front(lines: Iterator[str], megabytes: float) -> Iterator[str]:
    left = megabytes * 1e6
    for line in lines:
        if left <= 0:
            return
        yield line
        left -= len(line.encode())


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    os.replace(partial, path)
