"""Rows drawn dimension by dimension: the fallback of FOCUS, OFA and CLP, and the control of most papers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from saltjax.errors import UserError
from saltjax.transfer.material import Material
from saltjax.transfer.moments import mean_and_std
from saltjax.transfer.problem import Problem, rows_in_use

BLOCK = 4096  # rows in memory as float64


@dataclass(frozen=True)
class Random:
    """`row ~ N(mu, diag(sigma^2))`, mean and deviation of each column over the source rows `used`, or N(0, std^2) when
    `std` is given. Every table draws with the same seed."""

    count: int
    used: Int[np.ndarray, " s"]
    seed: int
    std: float | None = None

    def parts(
        self, table: Shaped[np.ndarray, "v hs"]
    ) -> Iterator[tuple[Int[np.ndarray, " b"], slice, Float[np.ndarray, "b hs"]]]:
        mean, std = mean_and_std(table, self.used) if self.std is None else (0.0, self.std)
        random = np.random.default_rng(self.seed)
        for start in range(0, self.count, BLOCK):
            members = np.arange(start, min(start + BLOCK, self.count), dtype=np.int32)
            draws = random.standard_normal((len(members), table.shape[1]))
            yield members, slice(None), (mean + draws * std).astype(np.float32)


def random(problem: Problem, material: Material, *, std: float = 0.0) -> Random:
    """`std`: 0 (the default) draws from N(mean, deviation) of the source's columns, as FOCUS, OFA and CLP do where they
    know nothing; anything else from N(0, std^2), as a model's own `initializer_range` (mostly 0.02) would.

    Raises UserError when `std` is negative.
    """
    if std < 0:
        raise UserError(f"std={std} must not be negative")
    return Random(len(problem.new), rows_in_use(problem), material.seed, std or None)
