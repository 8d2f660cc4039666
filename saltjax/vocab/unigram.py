"""A Unigram model's best cut of a piece."""

from dataclasses import dataclass
from typing import Any

UNKNOWN = 10.0  # an unknown character scores so much less than the rarest piece (as in the library)


@dataclass(frozen=True)
class Unigram:
    """ids and scores (log probabilities) of the pieces, and the lowest score."""

    ids: dict[str, int]
    scores: dict[str, float]
    lowest: float

    @classmethod
    def of(cls, model: dict[str, Any]) -> "Unigram":
        """Of the `model` of a tokenizer.json whose type is Unigram."""
        ids = {piece: token_id for token_id, (piece, _) in enumerate(model["vocab"])}
        scores = dict(model["vocab"])
        return cls(ids, scores, min(scores.values()))

    def cut(self, text: str) -> tuple[int, ...]:
        """The ids of the cut of the highest score; nothing where it has an unknown character."""
        found = self._best(text)[1]
        return tuple(self.ids[piece] for piece in found) if all(piece in self.ids for piece in found) else ()

    def score(self, text: str) -> float:
        return self._best(text)[0]

    def _best(self, text: str) -> tuple[float, list[str]]:
        """Viterbi over the ends of pieces."""
        best: list[tuple[float, int]] = [(0.0, 0)]
        for end in range(1, len(text) + 1):
            options = [(best[end - 1][0] + self.lowest - UNKNOWN, end - 1)]
            for start in range(end):
                score = self.scores.get(text[start:end])
                if score is not None:
                    options.append((best[start][0] + score, start))
            best.append(max(options))
        pieces: list[str] = []
        end = len(text)
        while end:
            start = best[end][1]
            pieces.insert(0, text[start:end])
            end = start
        return best[-1][0], pieces
