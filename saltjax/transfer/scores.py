"""How well a rule predicts source rows that it has not seen: scores of every initialiser before a step of training."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from saltjax.transfer.initialisation import Rule
from saltjax.transfer.mixture import Mixture
from saltjax.transfer.problem import Problem

CANDIDATES = 4096  # source rows that a predicted row is ranked against


@dataclass(frozen=True)
class Predictions:
    """Per held-out token, in the order of the folds: all that scores are made of, each [n], float64.

    With p the predicted and t the true row, m the mean of the anchors' rows (those of the token's fold):
    `cosine` of p - m and t - m; `cosine_raw` of p and t; `error` |p - t|^2; `spread` |t - m|^2; `norm` |p - m|;
    `relative` |p - t| / |t|; `rank` of t among `CANDIDATES` source rows by cosine to p, m subtracted, 1 the best (a tie
    counts half); `silent`: the rule had nothing to say, and p = m.
    """

    cosine: Float[np.ndarray, " n"]
    cosine_raw: Float[np.ndarray, " n"]
    error: Float[np.ndarray, " n"]
    spread: Float[np.ndarray, " n"]
    norm: Float[np.ndarray, " n"]
    relative: Float[np.ndarray, " n"]
    rank: Float[np.ndarray, " n"]
    silent: Bool[np.ndarray, " n"]

    @classmethod
    def joined(cls, parts: list["Predictions"]) -> "Predictions":
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__annotations__))


def predictions(
    problem: Problem, rule: Rule, table: Shaped[np.ndarray, "vs hs"], candidates: Int[np.ndarray, " c"]
) -> Predictions:
    """What `rule` gives for the new tokens of a problem with held-out anchors (`folds.held_out`), against the truth.

    `candidates`: source rows to rank the truth among, it included (`rivals`).
    """
    rows = np.empty((len(problem.new), table.shape[1]), np.float32)
    for members, columns, values in rule.parts(table):
        rows[members, columns] = values
    mean = table[problem.anchors_source].astype(np.float64).mean(axis=0)
    silent = rule.support == 0 if isinstance(rule, Mixture) else np.zeros(len(rows), bool)
    rows[silent] = mean
    true = table[problem.hidden].astype(np.float64)
    p, t = rows.astype(np.float64) - mean, true - mean
    return Predictions(
        cosine=_cosine(p, t),
        cosine_raw=_cosine(rows.astype(np.float64), true),
        error=np.square(p - t).sum(axis=1),
        spread=np.square(t).sum(axis=1),
        norm=np.linalg.norm(p, axis=1),
        relative=np.linalg.norm(p - t, axis=1) / np.maximum(np.linalg.norm(true, axis=1), 1e-30),
        rank=_ranks(_unit(table[candidates].astype(np.float64) - mean), _unit(p), _unit(t), candidates, problem.hidden),
        silent=silent,
    )


def rivals(problem: Problem, seed: int = 0, most: int = CANDIDATES) -> Int[np.ndarray, " c"]:
    """Source rows that true rows are ranked among: the anchors', and others of the source's tokens up to `most`."""
    random = np.random.default_rng(seed)
    anchors = np.unique(problem.anchors_source)
    others = np.setdiff1d(np.array([token.id for token in problem.source.tokens], np.int32), anchors)
    chosen = np.concatenate([random.permutation(anchors), random.permutation(others)])[:most]
    return np.sort(chosen).astype(np.int32)


def _ranks(
    against: Float[np.ndarray, "c h"],
    p: Float[np.ndarray, "n h"],
    t: Float[np.ndarray, "n h"],
    candidates: Int[np.ndarray, " c"],
    hidden: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """1 + other candidates nearer to p than the truth + half of those as near; float32 products of unit rows."""
    similar = p.astype(np.float32) @ against.astype(np.float32).T
    found = (p * t).sum(axis=1, keepdims=True).astype(np.float32)
    others = candidates != hidden[:, None]
    return 1.0 + ((similar > found) & others).sum(axis=1) + 0.5 * ((similar == found) & others).sum(axis=1)


def _unit(rows: Float[np.ndarray, "n h"]) -> Float[np.ndarray, "n h"]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


def _cosine(p: Float[np.ndarray, "n h"], t: Float[np.ndarray, "n h"]) -> Float[np.ndarray, " n"]:
    return (_unit(p) * _unit(t)).sum(axis=1)
