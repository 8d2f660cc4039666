"""Anchors that play new tokens: their source rows are known, so that a rule's rows for them can be scored."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from saltjax.errors import UserError
from saltjax.transfer.problem import Problem

MOST = 2000  # anchors that are held out in all: scores are then known to a hundredth, and a fold costs seconds
SHARE = 4  # at most one anchor in so many is held out at a time: a rule is scored with most of what it will have


def held_out(problem: Problem, anchors: Int[np.ndarray, " n"]) -> Problem:
    """The problem in which these anchors (positions, not ids) are the new tokens, and the rest are the anchors.

    `hidden` names their source rows. An anchor that is not held out but has such a row as well (two target tokens can
    share a source token) is no anchor any more: it would give the answer away.

    Raises ValueError when no anchor would be left.
    """
    hidden = problem.anchors_source[anchors]
    kept = np.flatnonzero(~np.isin(problem.anchors_source, hidden))
    if not len(kept):
        raise ValueError("no anchor would be left")
    aux = problem.aux_anchors
    return replace(
        problem,
        new=problem.anchors_target[anchors],
        hidden=hidden,
        plm_new=problem.plm_anchors[anchors],
        aux_new=None if aux is None else aux[anchors],
        anchors_source=problem.anchors_source[kept],
        anchors_target=problem.anchors_target[kept],
        plm_anchors=problem.plm_anchors[kept],
        aux_anchors=None if aux is None else aux[kept],
    )


def folds(problem: Problem, most: int = MOST, seed: int = 0) -> Iterator[Int[np.ndarray, " n"]]:
    """Positions of the anchors to hold out, a fold at a time; no source row is in two folds.

    At most `most` anchors in all, drawn with `seed`, one for each source row and none that a dictionary or fuzzy
    matching guessed (its source row need not be the right answer), in as few folds of one size (so that
    what is compiled for the first serves all) as keep each below a quarter of the anchors; a few are left over. Depends
    on the anchors' order and the seed alone.

    Raises UserError for fewer than eight source rows.
    """
    guessed = problem.overlap.translated | problem.overlap.fuzzy
    sure = np.flatnonzero([token_id not in guessed for token_id in problem.anchors_target.tolist()])
    first = sure[np.unique(problem.anchors_source[sure], return_index=True)[1]]
    if len(first) < 2 * SHARE:
        raise UserError(f"{len(first)} anchors are too few to hold some out: scores need {2 * SHARE} or more")
    drawn = np.random.default_rng(seed).permutation(first)[:most]
    count = math.ceil(SHARE * len(drawn) / len(first))
    for part in drawn[: len(drawn) // count * count].reshape(count, -1):
        yield np.sort(part)
