"""Many methods on the same held-out tokens, side by side, with intervals."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from saltjax.errors import UserError
from saltjax.transfer.bands import bands
from saltjax.transfer.folds import MOST, folds, held_out
from saltjax.transfer.initialisation import Rule
from saltjax.transfer.intervals import Bootstrap, interval
from saltjax.transfer.problem import Problem
from saltjax.transfer.scores import Predictions, predictions, rivals
from saltjax.transfer.shift import shift

Initialise = Callable[[Problem], Rule]
CRITERION = "mrr"  # what methods are ranked by: of all scores it says most about the loss after training


class Scores(NamedTuple):
    """scores: METHOD -> its scores, the best first. shift: see `shift.shift`. skipped: METHOD -> why it could not."""

    scores: dict[str, dict[str, Any]]
    shift: dict[str, Any]
    skipped: dict[str, str]


def score(
    problem: Problem,
    methods: Mapping[str, Initialise],
    table: Shaped[np.ndarray, "vs hs"],
    most: int = MOST,
    seed: int = 0,
    counts: Int[np.ndarray, " v"] | None = None,
    done: Callable[[str], None] = lambda name: None,
) -> Scores:
    """How well each method predicts rows of `table` that it has not seen.

    Anchors are held out in folds (`folds.folds`), every method makes its rule of what is left, and its rows are
    compared with the true ones. The same tokens, folds and bootstrap samples for all: the same seed gives the same
    bits. `counts`: of target ids in text, for the frequency bands. `done` is called with a method's name. A method that
    raises UserError is skipped.

    A method's scores are cosine, cosine_raw, r2 (1 - |p - t|^2 / |t - m|^2, sums over tokens, m the anchors' mean),
    relative_error, norm_ratio, hit1 and mrr (of the true row among `scores.rivals`), n, silent (share of tokens that
    the method says nothing about; the mean stands for them), interval{cosine, r2, mrr} (95 %, over tokens),
    behind{difference, interval} (mrr of the best less its own, paired), weighted{cosine, r2} (see `shift.shift`),
    bands{frequency{BAND{n, cosine, r2}}, script{...}}.
    """
    parts = [(held_out(problem, fold), fold) for fold in folds(problem, most, seed)]
    candidates = rivals(problem, seed)
    found: dict[str, Predictions] = {}
    skipped: dict[str, str] = {}
    for name, initialise in methods.items():
        try:
            found[name] = Predictions.joined([predictions(p, initialise(p), table, candidates) for p, _ in parts])
        except UserError as error:
            skipped[name] = str(error)
        done(name)
    ids = problem.anchors_target[np.concatenate([fold for _, fold in parts])]
    weights, record = shift(problem, ids)
    groups = bands(problem.target, ids, counts)
    samples = Bootstrap(len(ids), seed)
    drawn = {name: samples.mean(1 / p.rank) for name, p in found.items()}
    scores = {name: _summary(p, weights, groups, samples) for name, p in found.items()}
    order = sorted(scores, key=lambda name: -scores[name][CRITERION])
    for name in order:
        scores[name]["behind"] = {
            "difference": scores[order[0]][CRITERION] - scores[name][CRITERION],
            "interval": interval(drawn[order[0]] - drawn[name]),
        }
    return Scores({name: scores[name] for name in order}, record, skipped)


def _summary(
    p: Predictions,
    weights: Float[np.ndarray, " n"],
    groups: Mapping[str, Mapping[str, Bool[np.ndarray, " n"]]],
    samples: Bootstrap,
) -> dict[str, Any]:
    everything = np.ones(len(p.rank))
    reciprocal = 1 / p.rank
    return {
        **_average(p, everything),
        "cosine_raw": float(p.cosine_raw.mean()),
        "relative_error": float(p.relative.mean()),
        "norm_ratio": float(p.norm.mean() / np.sqrt(p.spread).mean()),
        "hit1": float((p.rank == 1).mean()),
        "mrr": float(reciprocal.mean()),
        "n": len(p.rank),
        "silent": float(p.silent.mean()),
        "interval": {
            "cosine": interval(samples.mean(p.cosine)),
            "r2": interval(1 - samples.ratio(p.error, p.spread)),
            "mrr": interval(samples.mean(reciprocal)),
        },
        "weighted": _average(p, weights),
        "bands": {
            kind: {name: {"n": int(mask.sum()), **_average(p, mask.astype(float))} for name, mask in masks.items()}
            for kind, masks in groups.items()
        },
    }


def _average(p: Predictions, weights: Float[np.ndarray, " n"]) -> dict[str, float]:
    return {
        "cosine": float(weights @ p.cosine / weights.sum()),
        "r2": float(1 - weights @ p.error / (weights @ p.spread)),
    }
