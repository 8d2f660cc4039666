"""Word vectors by counting: positive pointwise mutual information, factorised.

    PPMI[w, c] = max(0, log( n(w, c) n / (n(w) n(c)^0.75 / Z) ))        vectors = U sqrt(S) of its truncated SVD

n(w, c) counts c within `window` tokens of w, nearer ones more (weights 1, (window - 1) / window, ...). Levy, Goldberg &
Dagan 2015 ("Improving distributional similarity", sections 3-5): on little text as good as predicted vectors, with
context distribution smoothing 0.75 and the square root of S. Found by randomised subspace iteration (Halko, Martinsson
& Tropp 2011, algorithm 4.4). Seconds on one core, and the same for the same text.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int


def word_vectors(
    stream: Int[np.ndarray, "n"], vocab_size: int, dim: int, ignored: Sequence[int] = (), window: int = 4, seed: int = 0
) -> Float[np.ndarray, "{vocab_size} {dim}"]:
    """Float32 vectors of every token id; zero rows for those that never occur and for the `ignored` ids."""
    matrix = _ppmi(stream, vocab_size, ignored, window)
    width = min(dim + 16, vocab_size)
    basis = np.random.default_rng(seed).standard_normal((vocab_size, width)).astype(np.float32)
    for _ in range(8):  # matrix and transpose in turn: it is not symmetric, for the smoothing
        basis, _ = np.linalg.qr(matrix @ basis)
        basis, _ = np.linalg.qr(matrix.T @ basis)
    u, s, _ = np.linalg.svd(matrix @ basis, full_matrices=False)
    vectors = np.zeros((vocab_size, dim), np.float32)
    kept = min(dim, width)
    vectors[:, :kept] = u[:, :kept] * np.sqrt(s[:kept])
    vectors[matrix.getnnz(axis=1) == 0] = 0
    return vectors


def _ppmi(stream: Int[np.ndarray, "n"], vocab_size: int, ignored: Sequence[int], window: int) -> sp.csr_matrix:
    shape = (vocab_size, vocab_size)
    allowed = ~np.isin(stream, ignored)
    counts = sp.csr_matrix(shape, dtype=np.float32)
    for distance in range(1, window + 1):
        left, right = stream[:-distance], stream[distance:]
        both = allowed[:-distance] & allowed[distance:]
        weight = np.full(int(both.sum()), (window + 1 - distance) / window, np.float32)
        pairs = sp.coo_matrix((weight, (left[both], right[both])), shape).tocsr()
        counts = counts + pairs + pairs.T
    cells = counts.tocoo()
    rows = np.asarray(counts.sum(1), np.float64).ravel()
    contexts = rows**0.75
    information = np.log(cells.data * contexts.sum() / (rows[cells.row] * contexts[cells.col]))
    positive = information > 0
    values = information[positive].astype(np.float32)
    return sp.csr_matrix((values, (cells.row[positive], cells.col[positive])), shape)
