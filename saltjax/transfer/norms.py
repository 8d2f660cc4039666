"""Norm calibration: new rows as long as those of shared tokens."""

import numpy as np
from jaxtyping import Float, Int, Shaped

ROWS = 4096  # in memory as float64


def calibrate(
    table_vh: Shaped[np.ndarray, "v h"],
    new: Int[np.ndarray, " n"],
    source_sh: Shaped[np.ndarray, "s h"],
    anchors: Int[np.ndarray, " a"],
) -> None:
    """Stretch the rows `new` of a table, in place, about the mean mu of the anchors: `mu + f_i (e_i - mu)`.

    The factors give the new rows' distances from mu the distribution of the anchors' distances and keep their order:
    the i-th shortest of n gets the anchors' quantile (i + 1/2) / n. A row at mu stays there.

    Ours. A least-squares row leaves out what its k neighbours do not span, so its norm falls by about sqrt(k / ht)
    (0.16 for k = 16 of 768), and logits of an untouched head fall with it; off unless asked for, because the
    papers' rows are what they are, and because a shorter row is the better guess of an unknown one in the mean square.
    """
    if not len(new):
        return
    total = np.zeros(table_vh.shape[1])
    for start in range(0, len(anchors), ROWS):
        total += source_sh[anchors[start : start + ROWS]].astype(np.float64).sum(axis=0)
    mean = total / len(anchors)
    distances = _distances(table_vh, new, mean)
    order = np.argsort(distances, kind="stable")
    wanted = np.empty(len(new))
    wanted[order] = np.quantile(_distances(source_sh, anchors, mean), (np.arange(len(new)) + 0.5) / len(new))
    factors = wanted / np.where(distances > 0, distances, np.inf)
    for start in range(0, len(new), ROWS):
        rows = slice(start, start + ROWS)
        away = table_vh[new[rows]].astype(np.float64) - mean
        table_vh[new[rows]] = (mean + factors[rows, None] * away).astype(table_vh.dtype)


def _distances(
    table_vh: Shaped[np.ndarray, "v h"], ids: Int[np.ndarray, " m"], mean: Float[np.ndarray, " h"]
) -> Float[np.ndarray, " m"]:
    blocks = (ids[start : start + ROWS] for start in range(0, len(ids), ROWS))
    return np.concatenate([np.linalg.norm(table_vh[block].astype(np.float64) - mean, axis=1) for block in blocks])
