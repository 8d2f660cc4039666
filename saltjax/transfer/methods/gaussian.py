"""Rows drawn from the multivariate normal of the source table (Hewitt 2021): the baseline that knows nothing."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from saltjax.errors import UserError
from saltjax.transfer.material import Material
from saltjax.transfer.moments import covariance, mean_and_std
from saltjax.transfer.problem import Problem, rows_in_use

BLOCK = 4096  # rows in memory as float64


@dataclass(frozen=True)
class Gaussian:
    """`row ~ N(mu, eps Sigma)` with the mean and covariance of the source rows that its tokenizer uses.

    `eps` scales the covariance. Hewitt's widely copied snippet takes 1e-5, the default here; Hugging Face's
    `resize_token_embeddings` takes 1e-9 and mergekit 1. Which one the SALT paper's baseline used is not stated.
    """

    count: int
    used: Int[np.ndarray, " s"]
    seed: int
    eps: float = 1e-5

    def parts(
        self, table: Shaped[np.ndarray, "v hs"]
    ) -> Iterator[tuple[Int[np.ndarray, " b"], slice, Float[np.ndarray, "b hs"]]]:
        """The rows for `table`, `BLOCK` tokens at a time; every table draws with the same seed.

        A sample of N(0, Sigma) is `z (E - mu) / sqrt(s)` with z ~ N(0, I_s), but s is large: the covariance is formed
        once ([hs, hs] float64) and factored by its eigenvectors, which does not mind when it is singular.
        """
        mean, _ = mean_and_std(table, self.used)
        values, vectors = np.linalg.eigh(covariance(table, self.used, mean))
        factor = (vectors * np.sqrt(self.eps * np.maximum(values, 0))).T.astype(np.float32)
        random = np.random.default_rng(self.seed)
        for start in range(0, self.count, BLOCK):
            members = np.arange(start, min(start + BLOCK, self.count), dtype=np.int32)
            draws = random.standard_normal((len(members), len(values)), np.float32)
            yield members, slice(None), (mean + draws @ factor).astype(np.float32)


def gaussian(problem: Problem, material: Material, *, eps: float = 1e-5) -> Gaussian:
    """See `Gaussian`. Raises UserError when `eps` is negative."""
    if eps < 0:
        raise UserError(f"eps={eps} must not be negative")
    return Gaussian(len(problem.new), rows_in_use(problem), material.seed, eps)
