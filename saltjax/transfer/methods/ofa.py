"""OFA (Liu et al. 2024, arXiv 2311.08849): similar source tokens, in a factorised source table."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Array, Float, Int

from saltjax.errors import UserError
from saltjax.transfer.material import Material
from saltjax.transfer.mixture import Mixture
from saltjax.transfer.moments import covariance
from saltjax.transfer.neighbours import most_similar
from saltjax.transfer.problem import Problem, described, rows_in_use

ROWS = 4096  # in memory as float32


@dataclass(frozen=True)
class Factorised(Mixture):
    """A mixture of the rows of the table's best approximation of rank `dim`, over the source rows `used`.

    With `E = U S V'` OFA keeps coordinates `F = U[:, :D]` and primitives `P = S[:D] V[:, :D]'`, and mixes coordinates;
    a mixture of F folded back through P is `(W F) P = (W E) V_D V_D'`. V comes from the eigenvectors of `E'E`.
    A table of no more than `dim` columns, or `dim` 0, is not factorised.
    """

    dim: int = 0
    used: Int[np.ndarray, " u"] = field(default_factory=lambda: np.zeros(0, np.int32))

    def parts(
        self, table: np.ndarray | Array
    ) -> Iterator[tuple[Int[np.ndarray, " b"], slice, Float[np.ndarray, "b w"]]]:
        if not 0 < self.dim < table.shape[1]:
            yield from super().parts(table)
            return
        table = np.asarray(table)
        second = covariance(table, self.used, np.zeros(table.shape[1]))
        V = np.linalg.eigh(second)[1][:, -self.dim :].astype(np.float32)
        coordinates = np.empty((len(table), self.dim), np.float32)
        for start in range(0, len(table), ROWS):
            coordinates[start : start + ROWS] = table[start : start + ROWS].astype(np.float32) @ V
        mixed = np.empty((len(self.support), self.dim), np.float32)
        for members, columns, values in super().parts(coordinates):
            mixed[members, columns] = values
        for start in range(0, len(mixed), ROWS):
            members = np.arange(start, min(start + ROWS, len(mixed)), dtype=np.int32)
            yield members, slice(None), mixed[members] @ V.T


def ofa(problem: Problem, material: Material, *, k: int = 10, temperature: float = 0.1, dim: int = 400) -> Factorised:
    """`row = sum_s softmax(cos(f(u), f(s)) / T)_s F[s]` over the k nearest of ALL source tokens, folded back (k 10,
    T 0.1: the paper's code; dim 400, one of its four sizes).

    f are auxiliary vectors of the tokens' surface texts; the paper takes averages of multilingual word vectors
    (ColexNet+), which `--aux` can be a `.vec` of. Source tokens without a vector are not looked at; copied rows stay
    bit for bit, which in OFA's own model are factorised too.

    Raises UserError: no auxiliary vectors, none for any source token, or an option out of range.
    """
    if k < 1 or temperature <= 0 or dim < 0:
        raise UserError(f"k={k} and temperature={temperature} must be positive, and dim={dim} not negative")
    new, _ = described(problem, "aux")
    used = rows_in_use(problem)
    vectors = material.source_vectors(problem.source)[used]
    candidates = used[vectors.any(axis=1)]
    if not len(candidates):
        raise UserError("no source token has an auxiliary vector")
    indices, cosines = most_similar(new, vectors[vectors.any(axis=1)], k, material.mesh)
    weights = np.exp((cosines - cosines[:, :1]) / temperature)
    weights /= weights.sum(axis=1, keepdims=True)
    support = np.full(len(new), indices.shape[1], np.int32)
    return Factorised(candidates[indices], weights, support, None, material.mesh, dim, used)
