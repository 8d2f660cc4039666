"""Orthogonal Procrustes: a rotation from the PLM's space into the source's, so that angles are kept."""

import numpy as np
from jaxtyping import Float

from saltjax.transfer.globalmap import GlobalMap
from saltjax.transfer.material import Material
from saltjax.transfer.problem import Problem


def procrustes(problem: Problem, material: Material, *, scale: bool = True, centred: bool = True) -> GlobalMap:
    """`row = (e - mean_t) X + mean_s`, `X = c U V'` with `U Sigma V' = svd(A'S)` (Schönemann 1966).

    Of all matrices with orthonormal rows (or columns, when ht > hs) X maps the anchors' PLM rows A nearest to their
    source rows S, both less their means unless `centred` is false. `scale` lets it stretch by the best
    `c = tr(Sigma) / ||A U||^2`; else c = 1. mergekit's `landmark_pca` is a relative.
    """

    def solve(gram: Float[np.ndarray, "ht ht"], cross: Float[np.ndarray, "ht hs"]) -> Float[np.ndarray, "ht hs"]:
        U, sigma, Vt = np.linalg.svd(cross, full_matrices=False)
        kept = np.einsum("tk,tu,uk->", U, gram, U, optimize=True)
        return (sigma.sum() / kept if scale and kept > 0 else 1.0) * (U @ Vt)

    return GlobalMap(problem, solve, centred)
