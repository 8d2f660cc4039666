"""What curves say: gaps, transfer, plateaus, and how sure that is with so few seeds."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import pearsonr

EXACT = 5  # seeds up to which all k^k resamples are taken
RESAMPLES = 2000
LEVEL = 0.95

Table = Float[np.ndarray, "budgets seeds"]


class Estimate(NamedTuple):
    """`interval`: 95 % over seeds; None for fewer than two of them."""

    value: float
    interval: tuple[float, float] | None


def draws(seeds: int) -> Int[np.ndarray, "draws seeds"]:
    """Resamples of the seeds with replacement (Efron 1979): every one of the k^k, or 2,000 drawn ones."""
    if seeds <= EXACT:
        return np.array(list(itertools.product(range(seeds), repeat=seeds)))
    return np.random.default_rng(0).integers(0, seeds, (RESAMPLES, seeds))


def estimate(statistic: Callable[..., np.floating], *tables: Float[np.ndarray, "seeds"]) -> Estimate:
    """A statistic of values by seed, and its percentile bootstrap interval; the same seeds are drawn for all tables,
    since runs of one seed share their data."""
    value = float(statistic(*tables))
    seeds = len(tables[0])
    if seeds < 2:
        return Estimate(value, None)
    chosen = draws(seeds)
    drawn = np.array([float(statistic(*(one[draw] for one in tables))) for draw in chosen])
    low, high = np.nanquantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Estimate(value, (float(low), float(high)))


def mean(values: Float[np.ndarray, " seeds"]) -> Estimate:
    return estimate(lambda one: one.mean(), values)


def difference(a: Float[np.ndarray, " seeds"], b: Float[np.ndarray, " seeds"]) -> Estimate:
    """mean(b) - mean(a), seeds paired."""
    return mean(b - a)


def transfer(seen: Table, unseen: Table, budget: int) -> Estimate | None:
    """(u_n - u_0) / (s_n - s_0) of means over seeds: what languages without data gain for each point that those with
    data gain. `budget` is n's index, 0 the first row. None where the seen languages' gain is not told from 0 (its
    interval holds 0, or resamples have none at all): then the ratio would say nothing."""
    gain = difference(seen[0], seen[budget])
    if (gain.interval is None and gain.value == 0) or (gain.interval and gain.interval[0] <= 0 <= gain.interval[1]):
        return None

    def ratio(u: Float[np.ndarray, " seeds"], s: Float[np.ndarray, " seeds"]) -> np.floating:
        with np.errstate(divide="ignore", invalid="ignore"):
            return u.mean() / s.mean()

    found = estimate(ratio, unseen[budget] - unseen[0], seen[budget] - seen[0])
    return found if np.isfinite([found.value, *(found.interval or ())]).all() else None


def plateau(values: Table, budgets: tuple[int, ...]) -> int | None:
    """The smallest budget whose mean is within one standard error of the best mean (the one-standard-error rule,
    Breiman et al. 1984); the error is the best budget's over seeds. None for fewer than two seeds."""
    if values.shape[1] < 2:
        return None
    means = values.mean(axis=1)
    best = int(means.argmax())
    error = values[best].std(ddof=1) / np.sqrt(values.shape[1])
    return budgets[int(np.argmax(means >= means[best] - error))]


def correlation(seen: Table, unseen: Table) -> float | None:
    """Pearson's r along the budgets, of means over seeds; None for fewer than three budgets or without any change."""
    s, u = seen.mean(axis=1), unseen.mean(axis=1)
    if len(s) < 3 or np.ptp(s) == 0 or np.ptp(u) == 0:
        return None
    return float(pearsonr(s, u).statistic)
