"""How sure an average over tokens is: the bootstrap."""

import numpy as np
from jaxtyping import Float

DRAWS = 1000
LEVEL = 95.0


class Bootstrap:
    """Samples of n tokens with replacement, the same for every quantity, so that differences are paired.

    Percentile intervals (Efron & Tibshirani 1993, ch. 13); tokens count as independent.
    """

    def __init__(self, n: int, seed: int = 0):
        random = np.random.default_rng(seed)
        self.counts_bn = random.multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(np.float64)

    def ratio(
        self, numerator: Float[np.ndarray, " n"], denominator: Float[np.ndarray, " n"]
    ) -> Float[np.ndarray, " b"]:
        """`sum(numerator) / sum(denominator)` of every sample."""
        return (self.counts_bn @ numerator) / (self.counts_bn @ denominator)

    def mean(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " b"]:
        return self.counts_bn @ values / self.counts_bn.shape[1]


def interval(samples: Float[np.ndarray, " b"]) -> tuple[float, float]:
    """The middle `LEVEL` per cent."""
    low, high = np.percentile(samples, [50 - LEVEL / 2, 50 + LEVEL / 2])
    return float(low), float(high)
