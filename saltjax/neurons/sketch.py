"""Quantiles from exact counts above fixed edges: a sketch that merges by addition.

Of each neuron it is known how many of n tokens lie above each of E edges, and the least and largest activation. So the
ranks of E + 2 points are exact, and a quantile lies between the two points whose ranks enclose it; in between, linear
interpolation. Its rank is wrong by less than the mass of that bracket, which `largest_bracket` states: about 1 / E
where the edges are evenly spaced quantiles of a sample. Ours; sketches that move their edges (GK, KLL, t-digest) need
sorting or scattering for each token, which costs accelerators and CPUs more than the model.
"""

import numpy as np
from jaxtyping import Bool, Float, Int


class Sketch:
    """`edges` [E, f] ascending, `above` [E, f] how many of `count` numbers are greater, `low` and `high` [f]."""

    def __init__(
        self,
        edges: Float[np.ndarray, "e f"],
        above: Int[np.ndarray, "e f"],
        low: Float[np.ndarray, " f"],
        high: Float[np.ndarray, " f"],
        count: int,
    ):
        inside = np.clip(edges, low, high)
        self.points = np.concatenate([low[None], inside, high[None]]).astype(np.float64)  # [E + 2, f]
        ends = np.zeros((1, len(low)))
        self.ranks = np.concatenate([ends, 1 - above / max(1, count), ends + 1])  # share of numbers <= the point

    def quantile(self, share: float) -> Float[np.ndarray, " f"]:
        """The value below which `share` (0 to 1) of the numbers lie."""
        return self._between(self.ranks, self.points, np.full(self.points.shape[1], share))

    def share_below(self, values: Float[np.ndarray, " f"]) -> Float[np.ndarray, " f"]:
        """The share of the numbers up to `values`; the inverse of `quantile`."""
        found = self._between(self.points, self.ranks, values)
        return np.where(values < self.points[0], 0.0, np.where(values >= self.points[-1], 1.0, found))

    def _between(self, x: np.ndarray, y: np.ndarray, at: Float[np.ndarray, " f"]) -> Float[np.ndarray, " f"]:
        right = np.clip((x <= at).sum(axis=0), 1, len(x) - 1)[None]
        (x0, x1), (y0, y1) = (
            (np.take_along_axis(z, right - 1, 0)[0], np.take_along_axis(z, right, 0)[0]) for z in (x, y)
        )
        part = np.divide(at - x0, x1 - x0, out=np.zeros_like(x0), where=x1 > x0)
        return y0 + np.clip(part, 0, 1) * (y1 - y0)

    def largest_bracket(self) -> float:
        """The largest share of numbers between neighbouring points, over all neurons: the bound of a rank's error."""
        wide: Bool[np.ndarray, "e f"] = np.diff(self.points, axis=0) > 0
        return float((np.diff(self.ranks, axis=0) * wide).max(initial=0.0))


def pooled_quantile(sketches: list[Sketch], share: float) -> Float[np.ndarray, " f"]:
    """The quantile of all sketches together, each with the same weight; by bisection to float32's resolution.

    Its rank is wrong by less than the mean of the sketches' brackets there.
    """
    low = np.min([one.points[0] for one in sketches], axis=0)
    high = np.max([one.points[-1] for one in sketches], axis=0)
    for _ in range(30):
        middle = (low + high) / 2
        enough = np.mean([one.share_below(middle) for one in sketches], axis=0) >= share
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high
