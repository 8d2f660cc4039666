"""The minimum-norm coefficients that write one PLM row in its neighbours: `w = e pinv(E)`, never pinv itself."""

from collections.abc import Iterator
from itertools import chain

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Shaped

from saltjax.transfer.blocks import by_size
from saltjax.transfer.cholesky import cholesky, inverse, trusted
from saltjax.transfer.complement import Complement, nearly_all
from saltjax.transfer.each_token import on_devices, over_blocks
from saltjax.transfer.rankrevealing import rank_revealing_weights

Blocks = Iterator[tuple[Int[np.ndarray, " b"], tuple[np.ndarray, ...]]]
HIGHEST = jax.lax.Precision.HIGHEST
NORM_FLOOR = 1e-3  # a neighbour that much shorter than the longest: whether it counts is for float64 to say


def minimum_norm_weights(
    table_st: Shaped[Array, "s1 ht"], indices: Int[Array, " K"], support: Int[Array, ""], row: Shaped[Array, " ht"]
) -> tuple[Float[Array, " K"], Float[Array, ""], Bool[Array, ""]]:
    """`w = argmin ||w|| over argmin ||w E - e||`, for one token, in float32.

    E [K, ht] are the rows `indices` of the table, of which the first `support` count; the table's last row must be
    zero and takes the place of the others. `row` is e [ht].

    The smaller Gram side is factored by Cholesky, chosen by shape: E E' [K, K] when K <= ht, else E' E [ht, ht]. One
    matrix product of [E; e] with itself gives E E', E e and ||e||. A refinement with the residual formed from E itself,
    and not from its Gram matrix, brings the error from `cond(E)^2 1e-7` to its square, or to `cond(E) 1e-7` (corrected
    semi-normal equations, Björck 1987).

    Returns w [K] (0 outside), the relative residual `||e - w E|| / ||e||`, and whether float32 can be trusted with
    this row: no length below `NORM_FLOOR` of the longest, and `cholesky.trusted`.
    """
    inside = jnp.arange(indices.shape[0]) < support
    E = table_st[jnp.where(inside, indices, table_st.shape[0] - 1)].astype(jnp.float32)
    e = row.astype(jnp.float32)
    width, dim = E.shape
    if width <= dim:
        both = jnp.concatenate([E, e[None]])
        gram = jnp.matmul(both, both.T, precision=HIGHEST)
        square = jnp.diagonal(gram)[:width]
        scale = inverse(jnp.sqrt(square))  # a zero neighbour gets weight 0
        factor, smallest = cholesky(gram[:width, :width] * scale[:, None] * scale, empty=square == 0)
        solve_gram = lambda b: scale * cho_solve((factor, True), scale * b)  # noqa: E731
        w = solve_gram(gram[:width, width])
        unexplained = e - jnp.matmul(w, E, precision=HIGHEST)
        step = solve_gram(jnp.matmul(E, unexplained, precision=HIGHEST))
    else:
        square = jnp.sum(E * E, axis=0)
        scale = inverse(jnp.sqrt(square))
        U = E * scale
        factor, smallest = cholesky(jnp.matmul(U.T, U, precision=HIGHEST), empty=square == 0)
        solve_gram = lambda r: jnp.matmul(U, cho_solve((factor, True), scale * r), precision=HIGHEST)  # noqa: E731
        w = solve_gram(e)
        unexplained = e - jnp.matmul(w, E, precision=HIGHEST)
        step = solve_gram(unexplained)
    lengths = jnp.sqrt(square)
    even = jnp.all((lengths == 0) | (lengths > NORM_FLOOR * jnp.max(lengths)))
    residual = jnp.linalg.norm(unexplained) * inverse(jnp.linalg.norm(e))
    return w + step, residual, even & trusted(w, step, smallest)


def solve(
    target_new: Shaped[np.ndarray, "n ht"],
    target_shared: Shaped[np.ndarray, "s ht"],
    indices: Int[np.ndarray, "n K"],
    support: Int[np.ndarray, " n"],
    mesh: Mesh | None = None,
) -> tuple[Float[np.ndarray, "n K"], Float[np.ndarray, " n"], int]:
    """Coefficients of every new token over its neighbours: `weights` [n, K], `residual` [n], rows redone in float64.

    Tokens are solved in buckets of like support. Those that float32 cannot be trusted with (duplicate, collinear or
    nearly dependent neighbours) are redone in float64, singular values below `rankrevealing.RCOND` of the largest cut.
    """
    weights = np.zeros(indices.shape, np.float32)
    residual = np.zeros(len(support), np.float32)
    doubtful: list[np.ndarray] = []
    anchors, dim = target_shared.shape

    def gathered() -> Blocks:
        tables = on_devices([np.concatenate([target_shared, np.zeros((1, dim), target_shared.dtype)])], mesh)
        for width, positions in by_size(support[narrow], indices[narrow, 0], edges=(dim,)):
            kept = min(width, indices.shape[1])
            tokens = lambda block, kept=kept: (indices[block, :kept], support[block], target_new[block])  # noqa: E731
            elements = kept * dim + min(kept, dim) ** 2
            yield from over_blocks(minimum_norm_weights, tables, narrow[positions], tokens, elements, mesh)

    wide = nearly_all(support, anchors, dim)
    narrow, flat = (np.flatnonzero(which).astype(np.int32) for which in (~wide, wide))
    complement = Complement.of(target_shared, mesh).solve(target_new, indices, support, flat) if len(flat) else ()
    for block, (w_bk, residual_b, trusted_b) in chain(gathered(), complement):
        weights[block, : w_bk.shape[1]] = w_bk
        residual[block] = residual_b
        doubtful.append(block[~trusted_b])
    redo = np.concatenate(doubtful) if doubtful else np.zeros(0, np.int32)
    weights[redo] = 0  # also past the support, where a failed factor leaves NaN
    for i in redo:
        k = support[i]
        weights[i, :k], residual[i] = rank_revealing_weights(target_shared[indices[i, :k]], target_new[i])
    return weights, residual, len(redo)
