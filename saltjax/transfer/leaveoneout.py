"""Each anchor predicted from all others, for many noises at the price of one eigendecomposition."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float


def leave_one_out(
    gram: Float[np.ndarray, "s s"], noises: Sequence[float], rows: Float[np.ndarray, "s h"]
) -> Iterator[Float[np.ndarray, "s h"]]:
    """For each noise the residuals `y_i - f_{-i}(x_i)` of kernel ridge regression with a free constant.

    `f_{-i}` is the fit to all anchors but i. With `M = gram + noise I` and `B = M^-1 - M^-1 1 1' M^-1 / (1' M^-1 1)`,
    the corner of the bordered system's inverse, the residual is `(B Y)_i / B_ii` (Dubrule 1983, for kriging). Float64.
    """
    values, vectors = np.linalg.eigh(gram.astype(np.float64))
    ones, turned = vectors.sum(axis=0), vectors.T @ rows.astype(np.float64)
    for noise in noises:
        shrunk = 1 / (np.maximum(values, 0) + noise)
        inverse_ones = vectors @ (shrunk * ones)
        total = inverse_ones.sum()
        diagonal = np.square(vectors) @ shrunk - np.square(inverse_ones) / total
        inverse_rows = vectors @ (shrunk[:, None] * turned)
        inverse_rows -= np.outer(inverse_ones, inverse_rows.sum(axis=0) / total)
        yield inverse_rows / diagonal[:, None]


def mean_reciprocal_rank(predicted: Float[np.ndarray, "s h"], rows: Float[np.ndarray, "s h"]) -> float:
    """Mean of 1 / rank of each row among all rows, by cosine to what was predicted for it; float32."""
    unit = lambda x: (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)).astype(np.float32)  # noqa: E731
    similar = unit(predicted) @ unit(rows).T
    return float(np.mean(1 / (similar >= np.diagonal(similar)[:, None]).sum(axis=1)))
