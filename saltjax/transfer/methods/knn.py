"""Least squares over the k nearest anchors of the PLM's own space (mergekit's `common_interpolation`)."""

import numpy as np

from saltjax.errors import UserError
from saltjax.transfer.leastsquares import solve
from saltjax.transfer.material import Material
from saltjax.transfer.mixture import Mixture
from saltjax.transfer.neighbours import most_similar
from saltjax.transfer.problem import Problem


def knn(problem: Problem, material: Material, *, k: int = 64) -> Mixture:
    """`row = w E's`, `w = e pinv(E't)` over the k anchors of largest `cos(e, h)` between rows of the PLM.

    mergekit's tokensurgeon with `common_interpolation`, `least_squares`, `--cosine-similarity` and its default k = 64:
    SALT's regression with other neighbours. k above the PLM's dimensions gives minimum-norm weights.

    Raises UserError when `k` is not positive.
    """
    if k < 1:
        raise UserError(f"k={k} must be positive")
    indices, _ = most_similar(problem.plm_new, problem.plm_anchors, k, material.mesh)
    support = np.full(len(indices), indices.shape[1], np.int32)
    weights, residual, _ = solve(problem.plm_new, problem.plm_anchors, indices, support, material.mesh)
    return Mixture(indices, weights, support, residual, material.mesh).over(problem.anchors_source)
