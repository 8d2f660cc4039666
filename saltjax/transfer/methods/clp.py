"""CLP-Transfer (Ostendorff & Rehm 2023, arXiv 2301.09626) and CLP+ (Yamaguchi et al. 2024, arXiv 2402.10712)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from saltjax.transfer.material import Material
from saltjax.transfer.mixture import Mixture
from saltjax.transfer.neighbours import unit_rows
from saltjax.transfer.problem import Problem
from saltjax.transfer.sparsemax import sparsemax_mixture

ROWS = 4096  # in memory as float64


@dataclass(frozen=True)
class CLP:
    """`row = sum_o a_o E[o]`, `a_o = cos(e, h_o) / sum_o cos(e, h_o)` over ALL anchors o.

    e and h are rows of the target PLM. Negative cosines count as they are, as in the paper's code, so a token whose
    cosines nearly cancel gets a huge row; where their sum is exactly 0 the row is that of even weights. As the weights
    are linear in e, the sum is `e M / (e m)` with `M = sum_o h_o/||h_o|| E[o]` [ht, hs] and `m = sum_o h_o/||h_o||`: no
    [n, s] matrix is formed.
    """

    problem: Problem

    def parts(
        self, table: Shaped[np.ndarray, "vs hs"]
    ) -> Iterator[tuple[Int[np.ndarray, " b"], slice, Float[np.ndarray, "b hs"]]]:
        ids, anchors = self.problem.anchors_source, unit_rows(self.problem.plm_anchors)
        M, total = np.zeros((anchors.shape[1], table.shape[1])), np.zeros(table.shape[1])
        for start in range(0, len(ids), ROWS):
            rows = table[ids[start : start + ROWS]].astype(np.float64)
            M += anchors[start : start + ROWS].T.astype(np.float64) @ rows
            total += rows.sum(axis=0)
        m = anchors.sum(axis=0, dtype=np.float64)
        for start in range(0, len(self.problem.new), ROWS):
            members = np.arange(start, min(start + ROWS, len(self.problem.new)), dtype=np.int32)
            new = unit_rows(self.problem.plm_new[members]).astype(np.float64)
            sums = new @ m
            defined = (sums != 0)[:, None]
            values = np.where(defined, new @ M / np.where(defined, sums[:, None], 1), total / len(ids))
            yield members, slice(None), values.astype(np.float32)


def clp(problem: Problem, material: Material) -> CLP:
    """See `CLP`."""
    return CLP(problem)


def clp_plus(problem: Problem, material: Material) -> Mixture:
    """CLP+: `a = sparsemax(cos(e, h))` instead of CLP's dense weights; everything else is CLP."""
    mixture = sparsemax_mixture(problem.plm_new, problem.plm_anchors, material.mesh)
    return mixture.over(problem.anchors_source)
