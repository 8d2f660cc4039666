"""Which checkpoint is the best: the one with the lowest held-out bits per byte."""

from collections.abc import Container, Mapping

from saltjax.train.ema import SUFFIX

NONE, MEAN = "none", "mean"


def best_step(
    evaluations: Mapping[int, Mapping[str, float]], of: str, among: Container[int] | None = None
) -> int | None:
    """The step (one of `among`) whose {held-out text: bits per byte} is lowest: the mean, or that of the text `of`.

    The first of equals. Scores of moving averages count by their own name only. None: with `of` "none", or if no
    evaluation knows that text.
    """
    if of == NONE:
        return None
    found = {
        step: _mean(one) if of == MEAN else one[of]
        for step, one in sorted(evaluations.items())
        if one and (of == MEAN or of in one) and (among is None or step in among)
    }
    return min(found, key=found.__getitem__, default=None)


def _mean(scores: Mapping[str, float]) -> float:
    own = [score for name, score in scores.items() if not name.endswith(SUFFIX)]
    return sum(own) / len(own)
