"""Rows drawn from the multivariate normal of the source table (Hewitt 2021): the baseline that knows nothing."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


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

    def rows(self, table: Float[np.ndarray, "v hs"]) -> Float[np.ndarray, "n hs"]:
        """n rows for `table`; every table draws with the same seed. [n, hs] float32.

        A sample of N(0, Sigma) is `z (E - mu) / sqrt(s)` with z ~ N(0, I_s), but s is large: the covariance is formed
        once ([hs, hs] float64) and factored by its eigenvectors, which does not mind when it is singular.
        """
        used = np.asarray(table[self.used], np.float64)
        mean = used.mean(0)
        values, vectors = np.linalg.eigh(np.cov(used, rowvar=False, bias=True).reshape(used.shape[1], used.shape[1]))
        factor = vectors * np.sqrt(self.eps * np.maximum(values, 0))
        draws = np.random.default_rng(self.seed).standard_normal((self.count, len(values)), np.float32)
        return (mean + draws @ factor.T.astype(np.float32)).astype(np.float32)
