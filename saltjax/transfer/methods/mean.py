"""Every new row is the mean of the source's rows (mergekit's `mean`; the Gaussian baseline's limit for eps -> 0)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from saltjax.transfer.material import Material
from saltjax.transfer.moments import mean_and_std
from saltjax.transfer.problem import Problem, rows_in_use


@dataclass(frozen=True)
class Mean:
    """`row = mean(E)` over the source rows `used`."""

    count: int
    used: Int[np.ndarray, " s"]

    def parts(
        self, table: Shaped[np.ndarray, "v hs"]
    ) -> Iterator[tuple[Int[np.ndarray, " b"], slice, Float[np.ndarray, "b hs"]]]:
        mean = mean_and_std(table, self.used)[0].astype(np.float32)
        yield np.arange(self.count, dtype=np.int32), slice(None), np.broadcast_to(mean, (self.count, len(mean)))


def mean(problem: Problem, material: Material) -> Mean:
    """See `Mean`."""
    return Mean(len(problem.new), rows_in_use(problem))
