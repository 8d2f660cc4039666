"""SALT: Semantic Aware Linear Transfer (Lee et al. 2025, arXiv 2505.10945, §3)."""

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from saltjax.transfer.leastsquares import solve
from saltjax.transfer.material import Material
from saltjax.transfer.mixture import Mixture
from saltjax.transfer.neighbours import neighbours as nearest
from saltjax.transfer.problem import Problem, described


def salt_mixture(
    aux_new: np.ndarray | Array,
    aux_shared: np.ndarray | Array,
    target_new: np.ndarray | Array,
    target_shared: np.ndarray | Array,
    mesh: Mesh | None = None,
) -> Mixture:
    """Coefficients of n new tokens over s shared tokens (the anchors).

    For each new token, neighbours are the support S of the sparsemax over its cosine similarities to the anchors in
    the auxiliary space, and its row is `e X` with `X = pinv(E't) E's` the least-squares map from the neighbours' rows
    in the target PLM to theirs in the source LLM. X [ht, hs] is never formed: `e X = w E's` with `w = e pinv(E't)`, k
    numbers that do not depend on the source table. `salt_mixture(...).rows(table)` gives the new rows of any source
    table whose rows are in the anchors' order.

    Arguments: auxiliary vectors `aux_new` [n, a], `aux_shared` [s, a]; rows of the PLM's embedding `target_new`
    [n, ht], `target_shared` [s, ht]; NumPy or JAX, any float dtype. Zero auxiliary vectors have cosine 0 to all.
    On a `mesh` of one axis every device does its part of the new tokens.

    The pseudo-inverse's (minimum-norm) answer also for one neighbour, k > ht, and duplicate, collinear or zero
    neighbours; singular values below 5e-7 of the largest count as zero (our choice: the noise of float32 tables).

    Raises ValueError, naming the argument, for wrong shapes, no anchors, or values that are not finite.
    """
    arrays = {
        "aux_new": np.asarray(aux_new),
        "aux_shared": np.asarray(aux_shared),
        "target_new": np.asarray(target_new),
        "target_shared": np.asarray(target_shared),
    }
    _check(arrays)
    new_na, shared_sa, new_nt, shared_st = arrays.values()
    indices, support = nearest(new_na, shared_sa, mesh)
    weights, residual, _ = solve(new_nt, shared_st, indices, support, mesh)
    return Mixture(indices, weights, support, residual, mesh)


def _check(arrays: dict[str, np.ndarray]) -> None:
    for name, value in arrays.items():
        if value.ndim != 2:
            raise ValueError(f"{name} must have two dimensions, has shape {value.shape}")
    for name, other, axis in (
        ("aux_shared", "aux_new", 1),
        ("target_new", "aux_new", 0),
        ("target_shared", "aux_shared", 0),
        ("target_shared", "target_new", 1),
    ):
        if arrays[name].shape[axis] != arrays[other].shape[axis]:
            raise ValueError(f"{name} {arrays[name].shape} and {other} {arrays[other].shape} differ in axis {axis}")
    if len(arrays["aux_shared"]) == 0:
        raise ValueError("aux_shared is empty: SALT needs at least one shared token as an anchor")
    for name, value in arrays.items():
        if not np.isfinite(value.astype(np.float32)).all():
            raise ValueError(f"{name} holds values that are not finite")


def salt(problem: Problem, material: Material, *, neighbours: str = "aux") -> Mixture:
    """SALT for a posed problem: a mixture over source token ids.

    `neighbours`: "aux", the paper's auxiliary space; "plm", the PLM's rows less the anchors' mean (our option).
    """
    new, anchors = described(problem, neighbours)
    mixture = salt_mixture(new, anchors, problem.plm_new, problem.plm_anchors, material.mesh)
    return mixture.over(problem.anchors_source)
