"""Mean, deviation and second moments of a table's rows, in float64 and a few rows at a time: it may be a memory map."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int, Shaped

ROWS = 4096  # in memory as float64


def mean_and_std(
    table_vh: Shaped[np.ndarray, "v h"], used: Int[np.ndarray, " s"]
) -> tuple[Float[np.ndarray, " h"], Float[np.ndarray, " h"]]:
    """Of each column over the rows `used`."""
    total, square = np.zeros(table_vh.shape[1]), np.zeros(table_vh.shape[1])
    for rows in _blocks(table_vh, used):
        total += rows.sum(axis=0)
        square += np.square(rows).sum(axis=0)
    mean = total / len(used)
    return mean, np.sqrt(np.maximum(square / len(used) - np.square(mean), 0))


def covariance(
    table_vh: Shaped[np.ndarray, "v h"], used: Int[np.ndarray, " s"], about: Float[np.ndarray, " h"]
) -> Float[np.ndarray, "h h"]:
    """`(E - about)' (E - about) / s` of the rows `used`."""
    second = np.zeros((table_vh.shape[1], table_vh.shape[1]))
    for rows in _blocks(table_vh, used):
        centred = rows - about
        second += centred.T @ centred
    return second / len(used)


def _blocks(table_vh: Shaped[np.ndarray, "v h"], used: Int[np.ndarray, " s"]) -> Iterator[Float[np.ndarray, "b h"]]:
    for start in range(0, len(used), ROWS):
        yield table_vh[used[start : start + ROWS]].astype(np.float64)
