"""Global ridge regression from PLM rows to source rows: one map, learnt from all anchors."""

import numpy as np
from jaxtyping import Float

from saltjax.errors import UserError
from saltjax.transfer.globalmap import GlobalMap
from saltjax.transfer.material import Material
from saltjax.transfer.problem import Problem

RCOND = 1e-13  # of the Gram matrix's largest eigenvalue: what lies below is rounding


def ridge(problem: Problem, material: Material, *, ridge: float = 0.1, centred: bool = True) -> GlobalMap:
    """`row = (e - mean_t) X + mean_s`, `X = (A'A + lambda I)^-1 A'S`, `lambda = ridge tr(A'A) / ht`.

    A and S are the anchors' rows in the PLM and in the source table, less their means unless `centred` is false.
    `ridge=0` is the minimum-norm least-squares map: SALT's own regression with all anchors as neighbours of everyone.
    The measure of lambda and its default are ours.

    Raises UserError when `ridge` is negative.
    """
    if ridge < 0:
        raise UserError(f"ridge={ridge} must not be negative")

    def solve(gram: Float[np.ndarray, "ht ht"], cross: Float[np.ndarray, "ht hs"]) -> Float[np.ndarray, "ht hs"]:
        values, vectors = np.linalg.eigh(gram)
        kept = values > RCOND * values[-1]
        shrunk = np.zeros_like(values)
        shrunk[kept] = 1 / (values[kept] + ridge * values.sum() / len(values))
        return (vectors * shrunk) @ (vectors.T @ cross)

    return GlobalMap(problem, solve, centred)
