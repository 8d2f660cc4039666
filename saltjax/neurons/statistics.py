"""The statistics of every neuron over a text, on the host: int64 counts and float64 sums, added up batch by batch."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from saltjax.neurons.sketch import Sketch


@dataclass(frozen=True, eq=False)
class Statistics:
    """Arrays over layers and neurons, [L, f] and [L, e, f]; the activations are those at `collect`'s point.

    `above` counts the activations greater than each of `thresholds`, of which the first is 0 and the others ascend.
    `quantiles` sums the quantiles of each batch (`batch_percents`), where they were asked for.
    """

    tokens: int
    batches: int
    thresholds: Float[np.ndarray, "l e f"]  # float32
    above: Int[np.ndarray, "l e f"]  # int64
    total: Float[np.ndarray, "l f"]  # float64
    absolute: Float[np.ndarray, "l f"]  # float64
    low: Float[np.ndarray, "l f"]  # float32
    high: Float[np.ndarray, "l f"]  # float32
    quantiles: Float[np.ndarray, "l q f"]  # float64

    @classmethod
    def none(cls, thresholds: Float[np.ndarray, "l e f"], percents: int = 0) -> "Statistics":
        """Of no tokens."""
        layers, _, size = thresholds.shape
        zero, infinite = np.zeros((layers, size)), np.full((layers, size), np.inf, np.float32)
        return cls(
            0, 0, thresholds, np.zeros(thresholds.shape, np.int64), zero, zero, infinite, -infinite,
            np.zeros((layers, percents, size)),
        )  # fmt: skip

    def __add__(self, other: "Statistics") -> "Statistics":
        """Of both texts together; their thresholds must be the same."""
        if not np.array_equal(self.thresholds, other.thresholds):
            raise ValueError("statistics with different thresholds cannot be added")
        return Statistics(
            self.tokens + other.tokens,
            self.batches + other.batches,
            self.thresholds,
            self.above + other.above,
            self.total + other.total,
            self.absolute + other.absolute,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            self.quantiles + other.quantiles,
        )

    @property
    def positive(self) -> Int[np.ndarray, "l f"]:
        """Tokens with an activation above 0."""
        return self.above[:, 0]

    @property
    def mean(self) -> Float[np.ndarray, "l f"]:
        return self.total / self.tokens

    @property
    def absolute_mean(self) -> Float[np.ndarray, "l f"]:
        return self.absolute / self.tokens

    @property
    def batch_quantiles(self) -> Float[np.ndarray, "l q f"]:
        """The mean over batches of each batch's quantiles, as the published code takes them."""
        return self.quantiles / self.batches

    def sketch(self, layer: int) -> Sketch:
        """The distribution of a layer's activations."""
        edges, above = self.thresholds[layer, 1:], self.above[layer, 1:]
        return Sketch(edges, above, self.low[layer], self.high[layer], self.tokens)

    def quantile(self, percent: float) -> Float[np.ndarray, "l f"]:
        """Of all tokens, by the sketch; float32, as activations are."""
        layers = range(len(self.low))
        return np.stack([self.sketch(layer).quantile(percent / 100) for layer in layers]).astype(np.float32)
