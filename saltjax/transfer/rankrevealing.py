"""The least-squares coefficients of the few rows that float32 cannot resolve: float64 and a stated cut."""

import numpy as np
from jaxtyping import Float, Shaped

RCOND = 5e-7  # singular values below this share of the largest count as zero: four float32 roundings


def rank_revealing_weights(
    neighbours: Shaped[np.ndarray, "k ht"], row: Shaped[np.ndarray, " ht"]
) -> tuple[Float[np.ndarray, " k"], float]:
    """`w = e pinv(E)` and its relative residual, from the eigenvectors of the smaller Gram matrix, cut at `RCOND`.

    One refinement step brings the error to about `cond(E) 1e-16` of the part that is kept.
    """
    E, e = neighbours.astype(np.float64), row.astype(np.float64)
    wide = E.shape[0] <= E.shape[1]
    values, vectors = np.linalg.eigh(E @ E.T if wide else E.T @ E)
    kept = values > RCOND**2 * max(values[-1], 0)
    basis, inverse = vectors[:, kept], 1 / values[kept]
    w = np.zeros(len(E))
    for _ in range(2):
        unexplained = e - w @ E
        if wide:
            w = w + basis @ (inverse * (basis.T @ (E @ unexplained)))
        else:
            w = w + E @ (basis @ (inverse * (basis.T @ unexplained)))
    size = np.linalg.norm(e)
    return w.astype(np.float32), float(np.linalg.norm(e - w @ E) / size) if size else 0.0
