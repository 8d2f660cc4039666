"""How sure a score is, and whether two differ: bootstrap intervals, paired tests. Everything is seeded."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

RESAMPLES = 2000
FLIPS = 10000
AT_ONCE = 1 << 22  # numbers drawn at a time

Values = Float[np.ndarray, " n"]


def interval(values: Values, seed: int = 0) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of the mean over questions (Efron 1979); None for fewer than two."""
    if len(values) < 2:
        return None
    rng, means = np.random.default_rng(seed), []
    block = max(1, AT_ONCE // len(values))
    for start in range(0, RESAMPLES, block):
        draws = rng.integers(0, len(values), (min(block, RESAMPLES - start), len(values)))
        means.append(values[draws].mean(axis=1))
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return float(low), float(high)


class Difference(NamedTuple):
    """Of the mean of b from that of a, over the same questions."""

    difference: float
    interval: tuple[float, float] | None  # 95 %, paired bootstrap
    p: float  # two-sided
    test: str


def paired(a: Values, b: Values, seed: int = 0) -> Difference:
    """b - a and its paired bootstrap interval; McNemar's exact test where all values are 0 or 1, else sign flips."""
    both = np.concatenate([a, b])
    if np.isin(both, (0.0, 1.0)).all():
        p, test = mcnemar(int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())), "McNemar, exact"
    else:
        p, test = sign_flips(b - a, seed), "sign-flip permutation"
    return Difference(float((b - a).mean()), interval(b - a, seed), p, test)


def mcnemar(lost: int, won: int) -> float:
    """P of so unequal a split of the questions on which they differ, both ways alike (McNemar 1947, binomial form)."""
    n, least = lost + won, min(lost, won)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(least + 1)) / 2**n)


def sign_flips(differences: Values, seed: int = 0) -> float:
    """P of so large a mean if each difference could as well have the other sign (Fisher 1935, section 21; drawn)."""
    rng, seen = np.random.default_rng(seed), 0
    found = abs(differences.sum()) * (1 - 1e-12)
    block = max(1, AT_ONCE // max(1, len(differences)))
    for start in range(0, FLIPS, block):
        signs = rng.integers(0, 2, (min(block, FLIPS - start), len(differences)), dtype=np.int8) * 2 - 1
        seen += int((np.abs(signs @ differences) >= found).sum())
    return (1 + seen) / (1 + FLIPS)
