"""Shared tokens are not like new ones: how far they differ, and weights that make scores speak of the new ones."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from saltjax.transfer.problem import Problem
from saltjax.vocab.vocabulary import Vocabulary

LENGTHS = (1, 2, 4, 6)  # classes of characters: 1, 2, 3 to 4, 5 to 6, more
NAMES = ("1", "2", "3-4", "5-6", "7+")
HEAVIEST = 10.0  # a held-out token counts as so many at most, or a few would make the score


class Shift(NamedTuple):
    """weights: [n] of the held-out tokens, mean 1. record: shares for the report."""

    weights: Float[np.ndarray, " n"]
    record: dict[str, Any]


def shift(problem: Problem, held: Int[np.ndarray, " n"]) -> Shift:
    """Compare the held-out tokens (target ids) with the problem's new ones, by length in characters and word start.

    A held-out token's weight is the share of its class among the new tokens over that among the held-out ones
    (importance weighting), at most `HEAVIEST`. It corrects for what these classes say and for nothing else: a new token
    is new for reasons that no class shows.

    record: length{held_out{CLASS: share}, new{...}}, word_start{held_out, new}, uncovered (share of new tokens in
    classes without held-out ones), effective (the number of equally weighted tokens that say as much).
    """
    ours, theirs = _classes(problem.target, held), _classes(problem.target, problem.new)
    many = 2 * len(NAMES)
    share, share_new = (np.bincount(c, minlength=many) / max(1, len(c)) for c in (ours, theirs))
    ratio = np.where(share > 0, share_new / np.where(share > 0, share, 1), 0)
    weights = np.minimum(ratio, HEAVIEST)[ours]
    weights = weights / weights.mean() if weights.any() else np.ones(len(held))
    by_length = lambda s: dict(zip(NAMES, s.reshape(-1, 2).sum(axis=1).tolist(), strict=True))  # noqa: E731
    record = {
        "length": {"held_out": by_length(share), "new": by_length(share_new)},
        "word_start": {"held_out": float(share[1::2].sum()), "new": float(share_new[1::2].sum())},
        "uncovered": float(share_new[share == 0].sum()),
        "effective": float(weights.sum() ** 2 / np.square(weights).sum()),
    }
    return Shift(weights, record)


def _classes(vocabulary: Vocabulary, ids: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    surfaces = {token.id: token.surface for token in vocabulary.tokens}
    found = np.zeros(len(ids), np.int64)
    for row, token_id in enumerate(ids.tolist()):
        if surface := surfaces[token_id]:
            length = len(surface.text.decode(errors="replace"))
            found[row] = 2 * np.searchsorted(LENGTHS, length) + bool(surface.word_start)
    return found
