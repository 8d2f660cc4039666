"""Byte-pair merges, run on single words: what a piece is made of, and how a new one is reached."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Merges:
    """The merges of a BPE model in their order. `rank`: pair -> its place; lower goes first."""

    rank: dict[tuple[str, str], int]
    prefix: str = ""
    suffix: str = ""

    def joined(self, left: str, right: str) -> str:
        return left + right.removeprefix(self.prefix)

    def symbols(self, piece: str) -> list[str]:
        """The characters of a piece, as the model spells them before any merge."""
        goes_on = bool(self.prefix) and piece.startswith(self.prefix) and piece != self.prefix
        ends = bool(self.suffix) and piece.endswith(self.suffix) and piece != self.suffix
        found = list(piece.removeprefix(self.prefix) if goes_on else piece)
        if ends:
            found = found[: -len(self.suffix)]
            found[-1] += self.suffix
        return [(self.prefix if i or goes_on else "") + symbol for i, symbol in enumerate(found)]

    def run(self, symbols: Sequence[str]) -> tuple[list[str], list[str]]:
        """(what is left when no merge applies any more, all that was joined on the way)."""
        left: list[str] = list(symbols)
        made: list[str] = []
        while True:
            ranked = [(self.rank.get(pair), i) for i, pair in enumerate(pairwise(left))]
            best = min(((r, i) for r, i in ranked if r is not None), default=None)
            if best is None:
                return left, made
            i = best[1]
            left[i : i + 2] = [self.joined(left[i], left[i + 1])]
            made.append(left[i])


def read_merges(model: dict[str, Any]) -> Merges:
    """Of the `model` of a tokenizer.json whose type is BPE."""
    pairs = (merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"])
    rank: dict[tuple[str, str], int] = {}
    for left, right in pairs:
        rank.setdefault((left, right), len(rank))
    return Merges(rank, model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or "")
