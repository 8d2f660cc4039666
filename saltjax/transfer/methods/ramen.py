"""RAMEN (Tran 2020, arXiv 2002.07306): translation probabilities between the two vocabularies."""

from dataclasses import replace

import numpy as np

from saltjax.transfer.bilingual import in_one_space
from saltjax.transfer.counts import counted_mixture
from saltjax.transfer.material import Material
from saltjax.transfer.mixture import Mixture
from saltjax.transfer.problem import Problem, rows_in_use
from saltjax.transfer.sparsemax import sparsemax_mixture
from saltjax.transfer.tokenlinks import token_links


def ramen(problem: Problem, material: Material, *, words: int = 50_000, aligned: bool = False) -> Mixture:
    """`row = sum_e p(e | u) E[e]`, §2 of the paper; the same p gives the output bias, its other contribution.

    From a parallel text (`--parallel`, `--alignments`): p(e | u) are the normalised counts of aligned tokens (§2.2).
    Without one: `p(. | u) = sparsemax(cos(f(u), f(e)))` over all source tokens, f(token) the mean of the vectors of the
    `words` most frequent words that it is a piece of, weighted by 1 / rank (§2.1).

    Nothing is copied but special tokens. Where the paper draws tokens without an answer from N(0, 1/d) and gives them
    bias 0, ours fall back to N(mean, std) like everyone's. Raises UserError when neither material is there.
    """
    if material.links is not None:
        allowed = set(rows_in_use(problem).tolist())
        links = token_links(problem, material, material.links, least=1)
        counts = [{e: c for e, c in links.get(u, {}).items() if e in allowed} for u in problem.new.tolist()]
        return replace(counted_mixture(counts), mesh=material.mesh)
    new, source, ids = in_one_space(problem, material, words, aligned)
    mixture = sparsemax_mixture(new, source, material.mesh).over(ids)
    return replace(mixture, support=np.where(new.any(axis=1), mixture.support, 0).astype(np.int32))
