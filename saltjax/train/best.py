"""Which checkpoint is the best: the one with the lowest held-out bits per byte."""

from collections.abc import Container, Mapping

NONE, MEAN = "none", "mean"


def best_step(
    evaluations: Mapping[int, Mapping[str, float]], of: str, among: Container[int] | None = None
) -> int | None:
    """The step (one of `among`) whose {held-out text: bits per byte} is lowest: the mean, or that of the text `of`.

    The first of equals. None: with `of` "none", or if no evaluation knows that text.
    """
    if of == NONE:
        return None
    found = {
        step: sum(one.values()) / len(one) if of == MEAN else one[of]
        for step, one in sorted(evaluations.items())
        if one and (of == MEAN or of in one) and (among is None or step in among)
    }
    return min(found, key=found.__getitem__, default=None)
