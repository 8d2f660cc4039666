"""The linear systems of kernel ridge regression with a free constant, in float64: factored once, solved often."""

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve, solve_triangular

ROWS = 2048  # of a Gram matrix that are computed at a time
JITTER = 1e-10  # added to the centres' Gram matrix, whose diagonal is one: twins among them must not stop the factor

Solution = tuple[Float[np.ndarray, "m h"], Float[np.ndarray, " h"]]


def gram(x: Float[np.ndarray, "p d"], y: Float[np.ndarray, "q d"], sharpness: float) -> Float[np.ndarray, "p q"]:
    """`k(x_i, y_j) = exp(sharpness (x_i'y_j - 1))`; products in float32, the rest in float64."""
    found = np.empty((len(x), len(y)))
    for start in range(0, len(x), ROWS):
        rows = slice(start, start + ROWS)
        np.exp(sharpness * (x[rows] @ y.T - 1.0), out=found[rows])
    return found


class Exact:
    """Every anchor is a centre: `[K + noise I, 1; 1', 0] [c; b] = [Y; 0]`."""

    def __init__(self, anchors: Float[np.ndarray, "s d"], sharpness: float, noise: float):
        system = gram(anchors, anchors, sharpness)
        system[np.diag_indices_from(system)] += noise
        self.factor = cho_factor(system, lower=True, overwrite_a=True, check_finite=False)
        self.ones = cho_solve(self.factor, np.ones(len(anchors)))

    def solve(self, rows: Float[np.ndarray, "s h"]) -> Solution:
        c = cho_solve(self.factor, rows)
        b = c.sum(axis=0) / self.ones.sum()
        return c - np.outer(self.ones, b), b


class Centres:
    """m of the s anchors are centres, all are fitted: `min |Y - K_sm c - b|^2 + noise c'K_mm c`.

    With `K_mm = L L'` and `F = K_sm L'^-1` this is a ridge regression on F, whose m x m system is well conditioned.
    """

    def __init__(
        self, centres: Float[np.ndarray, "m d"], anchors: Float[np.ndarray, "s d"], sharpness: float, noise: float
    ):
        self.centres, self.anchors, self.sharpness = centres, anchors, sharpness
        own = gram(centres, centres, sharpness)
        own[np.diag_indices_from(own)] += JITTER
        self.root = cho_factor(own, lower=True, overwrite_a=True, check_finite=False)[0]
        self.total, square = np.zeros(len(centres)), np.zeros((len(centres), len(centres)))
        for _, features in self._features():
            self.total += features.sum(axis=0)
            square += features.T @ features
        square -= np.outer(self.total, self.total) / len(anchors)
        square[np.diag_indices_from(square)] += noise
        self.factor = cho_factor(square, lower=True, overwrite_a=True, check_finite=False)

    def solve(self, rows: Float[np.ndarray, "s h"]) -> Solution:
        mean = rows.mean(axis=0)
        cross = sum(features.T @ (rows[block] - mean) for block, features in self._features())
        c = cho_solve(self.factor, cross)
        b = mean - self.total @ c / len(self.anchors)
        return solve_triangular(self.root, c, lower=True, trans="T", check_finite=False), b

    def _features(self):
        for start in range(0, len(self.anchors), ROWS):
            block = slice(start, start + ROWS)
            towards = gram(self.centres, self.anchors[block], self.sharpness)
            yield block, solve_triangular(self.root, towards, lower=True, check_finite=False).T
