"""The methods by name: what each one measures, and the neurons that it gives.

Scores of the activation-probability family (Mondal et al. 2025, section on Act Prob), for activations h of a language:

    act-prob-zero          E[1(h > 0)]
    act-abs-mean           E|h|
    act-prob-mean          E[1(h > mean)] (the published code counts above the mean of |h|; here it is the mean)
    act-prob-{75,90,95}p   E[1(h > Pq)], Pq the mean over batches of the batches' q-th percentiles, of the same language

The last is about 1 - q by construction, so that its ranking shows how a neuron drifts from batch to batch more than
how much it has to do with the language. act-prob-90p-pooled, ours, repairs this: P90 is that of all languages
together, each with the same weight, so that a score above 0.1 means: more active here than elsewhere.

Where a threshold is counted above, it is set on a third of the windows and the count is made on the others (`split`).
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from saltjax.errors import UserError
from saltjax.neurons.activationprobability import highest
from saltjax.neurons.collect import Pass, collect
from saltjax.neurons.lape import lape
from saltjax.neurons.sketch import pooled_quantile
from saltjax.neurons.statistics import Statistics
from saltjax.neurons.text import Text, split

METHODS = (
    "lape", "act-prob-zero", "act-abs-mean", "act-prob-mean", "act-prob-75p", "act-prob-90p", "act-prob-95p",
    "act-prob-90p-pooled",
)  # fmt: skip
Tell = Callable[[str, int, int], None]


class Found(NamedTuple):
    neurons: Bool[np.ndarray, "k l f"]
    scores: Float[np.ndarray, "k l f"]  # by which they were chosen; for lape the share of tokens that are above 0
    statistics: dict[str, Statistics]  # of the text, or of the part that thresholds were set on


def find(
    run: Pass,
    texts: Mapping[str, Text],
    method: str,
    rate: float | None = None,
    tell: Tell | None = None,
    batch_percents: tuple[float, ...] = (),
) -> Found:
    """The neurons of each language by `method`; `rate` is the share of all neurons: for lape those that are
    language-specific (0.01), else those of each language (0.00125). The statistics also get the `batch_percents` of
    each batch. UserError: see `check`, `collect`; text of one window for a method that needs two (`split`)."""
    check(method, rate, len(texts))
    percent = percentile_of(method)
    pooled, counts = method.endswith("pooled"), method == "act-prob-mean" or percent is not None
    parts = {language: split(text) if counts else (text, text) for language, text in texts.items()}
    if short := [language for language, (_, second) in parts.items() if not len(second.chosen)]:
        raise UserError(
            f"{short[0]}: one window of text is too little for --method {method}, whose thresholds come from a part of "
            "the windows; give more text, or a smaller --seq-len"
        )
    if percent is not None and not pooled:
        batch_percents = tuple(sorted({*batch_percents, percent}))

    def passed(language: str, part: Text, limit: np.ndarray | None, percents: tuple[float, ...]) -> Statistics:
        thresholds = None if limit is None else limit[:, None].astype(np.float32)
        return collect(run, part, thresholds, percents, tell and partial(tell, language))

    found = {language: passed(language, first, None, batch_percents) for language, (first, _) in parts.items()}
    if counts:
        if pooled and percent is not None:
            limits = dict.fromkeys(texts, everywhere(list(found.values()), percent / 100))
        else:
            place = batch_percents.index(percent) if percent else 0
            limits = {
                language: one.batch_quantiles[:, place] if percent else one.mean for language, one in found.items()
            }
        above = [passed(language, second, limits[language], ()) for language, (_, second) in parts.items()]
        scores = np.stack([one.above[:, 1] / one.tokens for one in above])
    elif method == "act-abs-mean":
        scores = np.stack([one.absolute_mean for one in found.values()])
    else:
        scores = np.stack([one.positive / one.tokens for one in found.values()])
    choose = lape if method == "lape" else highest
    return Found(choose(scores) if rate is None else choose(scores, rate), scores, found)


def check(method: str, rate: float | None, languages: int) -> None:
    """UserError for what cannot be."""
    if method not in METHODS:
        raise UserError(f"--method {method} is not known; there are {', '.join(METHODS)}")
    if rate is not None and not 0 < rate < 1:
        raise UserError(f"--rate {rate} is not a share between 0 and 1")
    if languages < 2 and method in ("lape", "act-prob-90p-pooled"):
        raise UserError(f"--method {method} compares languages; give --text for at least two")


def percentile_of(method: str) -> float | None:
    """The percentile above which the method counts."""
    percent = re.search(r"(\d+)p", method)
    return float(percent[1]) if percent else None


def everywhere(found: list[Statistics], share: float) -> Float[np.ndarray, "l f"]:
    """The quantile of all languages together."""
    return np.stack([pooled_quantile([one.sketch(i) for one in found], share) for i in range(len(found[0].low))])
