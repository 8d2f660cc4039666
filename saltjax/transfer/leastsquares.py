"""The minimum-norm coefficients that write one PLM row in its neighbours: `w = e pinv(E)`, never pinv itself."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Bool, Float, Int

from saltjax.transfer.blocks import by_size, in_blocks

HIGHEST = jax.lax.Precision.HIGHEST
REFINEMENTS = 2
PIVOT_FLOOR = 1e-4  # a smaller pivot of the unit-diagonal Gram matrix: float32 may not resolve the row
NORM_FLOOR = 1e-3  # a neighbour that much shorter than the longest: whether it counts is for float64 to say
RCOND = 5e-7  # singular values below this share of the largest count as zero: four float32 roundings


def minimum_norm_weights(
    neighbours: Float[Array, "K ht"], inside: Bool[Array, " K"], row: Float[Array, " ht"]
) -> tuple[Float[Array, " K"], Float[Array, ""], Bool[Array, ""]]:
    """`w = argmin ||w|| over argmin ||w E - e||`, for one token, in float32.

    Shapes: `neighbours` E [K, ht] of which only the rows marked `inside` count, `row` e [ht]. The smaller Gram side is
    factored by Cholesky, chosen by shape: E E' [K, K] when K <= ht, else E' E [ht, ht]. Each of the two refinement
    steps uses a residual formed from E itself and not from its Gram matrix, so the error is about
    `cond(E) 1e-7` and not its square (corrected semi-normal equations, Björck 1987).

    Returns w [K] (0 outside), the relative residual `||e - w E|| / ||e||`, and whether float32 can be trusted with
    this row: full rank on the smaller side, no pivot below `PIVOT_FLOOR`, no length below `NORM_FLOOR` of the longest.
    """
    E = jnp.where(inside[:, None], neighbours, 0)
    width, dim = E.shape
    if width <= dim:
        norms = jnp.linalg.norm(E, axis=1)
        scale = _inverse(norms)  # a zero neighbour gets weight 0
        U = E * scale[:, None]
        factor, smallest = _cholesky(jnp.matmul(U, U.T, precision=HIGHEST), empty=norms == 0)
        w = jnp.zeros(width)
        for _ in range(1 + REFINEMENTS):
            unexplained = row - jnp.matmul(w, U, precision=HIGHEST)
            w = w + cho_solve((factor, True), jnp.matmul(U, unexplained, precision=HIGHEST))
        w = w * scale
    else:
        norms = jnp.linalg.norm(E, axis=0)
        scale = _inverse(norms)
        U = E * scale[None, :]
        factor, smallest = _cholesky(jnp.matmul(U.T, U, precision=HIGHEST), empty=norms == 0)
        w = jnp.zeros(width)
        for _ in range(1 + REFINEMENTS):
            unexplained = (row - jnp.matmul(w, E, precision=HIGHEST)) * scale
            w = w + jnp.matmul(U, cho_solve((factor, True), unexplained), precision=HIGHEST)
    unexplained = jnp.linalg.norm(row - jnp.matmul(w, E, precision=HIGHEST))
    residual = unexplained * _inverse(jnp.linalg.norm(row))
    even = jnp.all((norms == 0) | (norms > NORM_FLOOR * jnp.max(norms)))
    return w, residual, even & (smallest > PIVOT_FLOOR) & jnp.all(jnp.isfinite(w))


def _inverse(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """1 / x, and 0 for 0."""
    return jnp.where(x > 0, 1 / jnp.where(x > 0, x, 1), 0)


def _cholesky(gram: Float[Array, "m m"], empty: Bool[Array, " m"]) -> tuple[Float[Array, "m m"], Float[Array, ""]]:
    """Factor of a unit-diagonal Gram matrix (`empty` rows replaced by the identity's) and its smallest pivot."""
    factor = jnp.linalg.cholesky(gram + jnp.diag(empty.astype(gram.dtype)), symmetrize_input=False)
    smallest = jnp.min(jnp.square(jnp.diagonal(factor)))
    return factor, jnp.where(jnp.isfinite(smallest), smallest, 0)


@jax.jit
def _solve(
    table_st: Float[Array, "s ht"],
    rows_nt: Float[Array, "n ht"],
    block_b: Int[Array, " b"],
    indices_bk: Int[Array, "b K"],
    support_b: Int[Array, " b"],
) -> tuple[Float[Array, "b K"], Float[Array, " b"], Bool[Array, " b"]]:
    E_bkt = table_st[indices_bk].astype(jnp.float32)
    inside_bk = jnp.arange(indices_bk.shape[1]) < support_b[:, None]
    return jax.vmap(minimum_norm_weights)(E_bkt, inside_bk, rows_nt[block_b].astype(jnp.float32))


def solve(
    target_new: Float[np.ndarray, "n ht"],
    target_shared: Float[np.ndarray, "s ht"],
    indices: Int[np.ndarray, "n K"],
    support: Int[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, "n K"], Float[np.ndarray, " n"], int]:
    """Coefficients of every new token over its neighbours: `weights` [n, K], `residual` [n], rows redone in float64.

    Tokens are solved in buckets of like support. Those that float32 cannot be trusted with (duplicate, collinear or
    nearly dependent neighbours) are redone in float64 with singular values below `RCOND` of the largest cut.
    """
    weights = np.zeros(indices.shape, np.float32)
    residual = np.zeros(len(support), np.float32)
    doubtful: list[np.ndarray] = []
    table_st, rows_nt = jnp.asarray(target_shared), jnp.asarray(target_new)
    dim = target_shared.shape[1]
    for width, members in by_size(support, edges=(dim,)):
        kept = min(width, indices.shape[1])
        for block, real in in_blocks(members, kept * (dim + min(kept, dim))):
            solved = _solve(table_st, rows_nt, block, indices[block, :kept], support[block])
            w_bk, residual_b, trusted_b = (np.asarray(x)[:real] for x in solved)
            done = block[:real]
            weights[done, :kept], residual[done] = w_bk, residual_b
            doubtful.append(done[~trusted_b])
    redo = np.concatenate(doubtful) if doubtful else np.zeros(0, np.int32)
    for i in redo:
        k = support[i]
        weights[i, :k], residual[i] = rank_revealing_weights(target_shared[indices[i, :k]], target_new[i])
    return weights, residual, len(redo)


def rank_revealing_weights(
    neighbours: Float[np.ndarray, "k ht"], row: Float[np.ndarray, " ht"]
) -> tuple[Float[np.ndarray, " k"], float]:
    """The same coefficients in float64 from the eigenvectors of the smaller Gram matrix, cut at `RCOND`.

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
