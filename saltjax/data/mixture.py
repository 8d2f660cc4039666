"""Several corpora in one run: what is asked for, and each one's share."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saltjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Corpus:
    """One entry of a configuration's `data`: where it lies (`path` or `tfds`), and its share of the tokens.

    Corpora without a weight share what the weights leave over, by their sizes.
    """

    path: str = ""  # a file, a pattern or a folder: see folder.py
    tfds: str = ""  # or a TFDS name
    weight: float | None = None
    split: str = "train"  # of a folder or a TFDS set
    field: str = "text"  # of JSON lines, columns and TFDS records
    layout: str = "line"  # of text files: line or blank
    name: str = ""  # in metrics; by default that of the file

    @property
    def title(self) -> str:
        """`name`, or that of the file: `de.train` of `x/de.train.txt.xz`, `de` of `x/de/*.txt`, `wiki` of `wiki/2`."""
        if self.name:
            return self.name
        if self.tfds:
            return ([part for part in Path(self.tfds).parts if part[0].isalpha()] or [self.tfds])[-1]
        stem = ([part for part in Path(self.path).parts if not set(part) & set("*?[")] or [self.path])[-1]
        for suffix in (".gz", ".xz", ".zst", ".txt", ".jsonl", ".json", ".parquet", ".arrow"):
            stem = stem.removesuffix(suffix)
        return stem


def corpora(value: Any) -> tuple[Corpus, ...]:
    """The `data` of a configuration: a list of paths and of mappings with the fields of `Corpus`. UserError."""
    if not isinstance(value, list | tuple):
        raise UserError(f"data={value!r} is not a list, as in data=[{{path: de.jsonl, weight: 0.95}}, ...]")
    return tuple(_corpus(number, entry) for number, entry in enumerate(value, start=1))


def _corpus(number: int, entry: Any) -> Corpus:
    if isinstance(entry, Corpus):
        return entry
    entry = {"path": entry} if isinstance(entry, str) else entry
    where = f"data, entry {number}"
    if not isinstance(entry, dict):
        raise UserError(f"{where}: {entry!r} is neither a path nor a mapping with one")
    fields = {field.name for field in dataclasses.fields(Corpus)}
    if unknown := [str(key) for key in entry if key not in fields]:
        raise UserError(f"{where}: unknown key {unknown[0]!r}; there are {', '.join(sorted(fields))}")
    weight = entry.get("weight")
    if weight is not None and (isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < 1e9):
        raise UserError(f"{where}: weight={weight!r} is not a number above 0")
    if wrong := [key for key in entry if key != "weight" and not isinstance(entry[key], str)]:
        raise UserError(f"{where}: {wrong[0]}={entry[wrong[0]]!r} is not a text")
    corpus = Corpus(**{**entry, "weight": None if weight is None else float(weight)})
    if bool(corpus.path) == bool(corpus.tfds):
        raise UserError(f"{where}: give either path or tfds")
    return corpus


def weighted_path(value: str) -> Corpus:
    """`PATH=WEIGHT`, or a path without weight (also one that holds a =)."""
    path, equals, weight = value.rpartition("=")
    try:
        share = float(weight)
    except ValueError:
        return Corpus(path=value)
    if not equals or Path(value).exists():
        return Corpus(path=value)
    if not 0 < share < 1e9:
        raise UserError(f"{value}: weight={weight} is not a number above 0")
    return Corpus(path=path, weight=share)


def shares(weights: Sequence[float | None], tokens: Sequence[int]) -> list[float]:
    """Each corpus's share of the tokens seen; they sum to 1.

    Without a weight, corpora share in proportion to their `tokens` what the weights leave of 1. If all have one, only
    their ratios count. UserError: weights of 1 or more leave nothing for the others.
    """
    given = sum(weight for weight in weights if weight is not None)
    free = sum(count for weight, count in zip(weights, tokens, strict=True) if weight is None)
    if not any(weight is None for weight in weights):
        return [weight / given for weight in weights if weight is not None]
    if given >= 1:
        raise UserError(f"the weights sum to {given:g} and leave nothing for the data without one; lower them")
    found = zip(weights, tokens, strict=True)
    return [(1 - given) * count / free if weight is None else weight for weight, count in found]
