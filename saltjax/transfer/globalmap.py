"""One linear map for all tokens, learnt from the anchors: PLM rows in, source rows out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from saltjax.transfer.problem import Problem

ROWS = 4096  # in memory as float64
Solve = Callable[[Float[np.ndarray, "ht ht"], Float[np.ndarray, "ht hs"]], Float[np.ndarray, "ht hs"]]


@dataclass(frozen=True)
class GlobalMap:
    """`row = (e - mean_t) X + mean_s` with `X = solve(A'A, A'S)`; A [s, ht] are the anchors' PLM rows and S [s, hs]
    their rows of the source table, both less their means over the anchors (or as they are, when not `centred`).

    All in float64 but for the last product. What a table costs in memory: the two products, and a block of rows.
    """

    problem: Problem
    solve: Solve
    centred: bool

    def parts(
        self, table: Shaped[np.ndarray, "vs hs"]
    ) -> Iterator[tuple[Int[np.ndarray, " b"], slice, Float[np.ndarray, "b hs"]]]:
        ids, anchors, new = self.problem.anchors_source, self.problem.plm_anchors, self.problem.plm_new
        blocks = [slice(start, start + ROWS) for start in range(0, len(ids), ROWS)]
        mean_t, mean_s = np.zeros(anchors.shape[1]), np.zeros(table.shape[1])
        if self.centred:
            mean_t = anchors.mean(axis=0, dtype=np.float64)
            mean_s = sum((table[ids[b]].astype(np.float64).sum(axis=0) for b in blocks), mean_s) / len(ids)
        gram, cross = np.zeros((len(mean_t), len(mean_t))), np.zeros((len(mean_t), len(mean_s)))
        for block in blocks:
            A = anchors[block].astype(np.float64) - mean_t
            gram += A.T @ A
            cross += A.T @ (table[ids[block]].astype(np.float64) - mean_s)
        X = self.solve(gram, cross).astype(np.float32)
        for start in range(0, len(new), ROWS):
            members = np.arange(start, min(start + ROWS, len(new)), dtype=np.int32)
            rows = (new[members] - mean_t).astype(np.float32) @ X + mean_s
            yield members, slice(None), rows.astype(np.float32)
