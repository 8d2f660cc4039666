"""The numbers of a replication, from the arms' records alone: means over seeds, steps to the same loss, differences."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import spearmanr, t

Record = Mapping[str, Any]
Curve = Sequence[tuple[int, float]]


class Mean(NamedTuple):
    """Over seeds: mean, standard deviation (n - 1; nan for a single seed), number of seeds."""

    mean: float
    deviation: float
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.3f}" + (f" ± {self.deviation:.3f}" if self.count > 1 else "")


def mean(values: Sequence[float]) -> Mean:
    return Mean(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"), len(values))


def interval(values: Sequence[float]) -> float:
    """Half of the 95 % interval of the mean, by Student's t with n - 1 degrees of freedom; nan for one value."""
    if len(values) < 2:
        return float("nan")
    return float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)


def chosen(records: Iterable[Record], **wanted: Any) -> dict[int, Record]:
    """{seed: record} of one language, PLM and method."""
    found = [one for one in records if all(one[key] == value for key, value in wanted.items())]
    return {one["seed"]: one for one in sorted(found, key=lambda one: one["seed"])}


def at(record: Record, name: str, step: int) -> float:
    """Bits per byte of the held-out text `name` at a step that was measured; -1: the last."""
    curve = record["bits_per_byte"][name]
    return curve[-1][1] if step == -1 else dict(map(tuple, curve))[step]


def steps_to(curve: Curve, level: float) -> float | None:
    """The first step at which the curve, linear between measurements, is at `level` or below; None: never."""
    step, value = curve[0]
    if value <= level:
        return float(step)
    for after, below in curve[1:]:
        if below <= level:
            return step + (after - step) * (value - level) / (value - below)
        step, value = after, below
    return None


def speedup(record: Record, baseline: Record) -> float | None:
    """Steps of `baseline` to its own last value, over those of `record` to that value; None: it never gets there."""
    language = record["language"]
    theirs = baseline["bits_per_byte"][language]
    level = min(value for _, value in theirs)
    ours, needed = steps_to(record["bits_per_byte"][language], level), steps_to(theirs, level)
    if ours is None or needed is None:
        return None
    return needed / ours if ours else float("inf")


def differences(records: Sequence[Record], method: str, other: str, name: str | None, step: int) -> list[float]:
    """Bits per byte of `method` less those of `other` with the BERT-like PLM, for every language and seed that both
    have: below zero, `method` is better. `name`: "en", or None for each record's own language."""
    found = []
    for language in sorted({one["language"] for one in records}):
        a = chosen(records, language=language, plm="bert", method=method)
        b = chosen(records, language=language, plm="bert", method=other)
        text = name or language
        found += [at(a[seed], text, step) - at(b[seed], text, step) for seed in a if seed in b]
    return found


def rank_correlation(scores: Mapping[str, float], losses: Mapping[str, float]) -> tuple[float, int]:
    """(Spearman's rho, number of methods) of a score that should be high and a loss that should be low."""
    both = [name for name in scores if name in losses]
    if len(both) < 3:
        return float("nan"), len(both)
    return float(spearmanr([-scores[name] for name in both], [losses[name] for name in both]).statistic), len(both)
