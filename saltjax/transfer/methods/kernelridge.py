"""Kernel ridge regression on PLM rows, auxiliary vectors or both (ours): better than SALT where it was measured."""

import numpy as np
from jaxtyping import Float

from saltjax.errors import UserError
from saltjax.transfer.kernelridge import KernelRidge, Pair
from saltjax.transfer.material import Material
from saltjax.transfer.neighbours import unit_rows
from saltjax.transfer.problem import Problem


def kernel_ridge(
    problem: Problem, material: Material, *, space: str = "plm", sharpness: float = 0.0, noise: float = 0.0
) -> KernelRidge:
    """`row = sum_i c_i k(z, z_i) + b`, `k(z, z') = exp(sharpness (cos(z, z') - 1))`, fitted to all anchors.

    z is a token's PLM row less the anchors' mean (`space="plm"`), its auxiliary vector ("aux"), or both: the mean of
    the two cosines, so the product of the two kernels. "auto" (of plm and both) and 0 are chosen by leave-one-out, for
    each table of the source model; see `KernelRidge`.

    Raises UserError: an unknown space, one that is not there, or negative settings.
    """
    if min(sharpness, noise) < 0:
        raise UserError(f"sharpness={sharpness} and noise={noise} must not be negative; 0 has them chosen")
    plm = _directions(problem.plm_new, problem.plm_anchors)
    spaces = {"plm": plm}
    if problem.aux_new is not None and problem.aux_anchors is not None:
        aux = _directions(problem.aux_new, problem.aux_anchors)
        both = [np.concatenate(pair, axis=1) / np.float32(np.sqrt(2)) for pair in zip(plm, aux, strict=True)]
        spaces |= {"both": (both[0], both[1]), "aux": aux}
    if space not in (*spaces, "auto"):
        raise UserError(f"space={space} is not known or not there; there are auto, {', '.join(spaces)}")
    chosen = {name: spaces[name] for name in spaces if name == space or (space == "auto" and name != "aux")}
    anchors = problem.anchors_source
    return KernelRidge(chosen, anchors, sharpness or None, noise or None, material.seed, material.mesh)


def _directions(new: Float[np.ndarray, "n d"], anchors: Float[np.ndarray, "s d"]) -> Pair:
    """Less the anchors' mean, of length one. A zero auxiliary vector says nothing and stays zero."""
    said = [rows.any(axis=1, keepdims=True) for rows in (new, anchors)]
    mean = anchors.sum(axis=0, dtype=np.float64) / max(1, said[1].sum())
    found = [unit_rows(np.where(is_said, rows - mean, 0)) for is_said, rows in zip(said, (new, anchors), strict=True)]
    return found[0], found[1]
