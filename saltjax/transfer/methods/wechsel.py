"""WECHSEL (Minixhofer et al. 2022, arXiv 2112.06598): the nearest source tokens in aligned word vectors."""

import jax
import numpy as np

from saltjax.errors import UserError
from saltjax.transfer.bilingual import in_one_space
from saltjax.transfer.material import Material
from saltjax.transfer.mixture import Mixture
from saltjax.transfer.neighbours import most_similar
from saltjax.transfer.problem import Problem


def wechsel(
    problem: Problem,
    material: Material,
    *,
    k: int = 10,
    temperature: float = 0.1,
    words: int = 0,
    aligned: bool = False,
) -> Mixture:
    """`row = sum_s softmax(cos(f(u), f(s)) / temperature)_s E[s]` over the k nearest of ALL source tokens (§3).

    f(u) and f(s) lie in one space (`bilingual.in_one_space`): aligned by `--dictionary`, or said to be `aligned`.
    Nothing is copied but special tokens: tokens that both vocabularies have are estimated as well. Tokens without a
    vector fall back to N(mean, std), as in the paper's code.

    Raises UserError: vectors of either language or the dictionary are missing; k or temperature is not positive.
    """
    if k < 1 or temperature <= 0:
        raise UserError(f"k={k} and temperature={temperature} must be positive")
    if not aligned and material.dictionary is None:
        raise UserError(
            "the method needs a bilingual dictionary to align the two files of vectors: --dictionary FILE, "
            "or --option aligned=true where they share one space"
        )
    new, source, ids = in_one_space(problem, material, words, aligned)
    indices, cosines = most_similar(new, source, k, material.mesh)
    weights = np.asarray(jax.nn.softmax(cosines / np.float32(temperature), axis=1))
    support = np.where(new.any(axis=1), indices.shape[1], 0).astype(np.int32)
    inside = support[:, None] > 0
    return Mixture(np.where(inside, ids[indices], 0), np.where(inside, weights, 0), support, mesh=material.mesh)
