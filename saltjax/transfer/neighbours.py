"""Which anchors stand in for a new token: the support of a sparsemax over cosine similarities."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from saltjax.transfer.blocks import in_blocks

FIRST_WIDTH = 64  # similarities kept per token at first; wider supports are redone four times as wide


def sparsemax_support(largest: Float[Array, " K"]) -> Int[Array, ""]:
    """Size of the support of sparsemax, from the K largest scores in falling order.

    With z sorted, the support is the largest r with `1 + r z_r > z_1 + ... + z_r` (Martins & Astudillo 2016, Prop. 1).
    It is written in the gaps `d_r = z_1 - z_r`, as `sum_{j<=r} d_j + 1 > r d_r`, which loses no digits when a flat
    space makes r large. The condition holds for a prefix of r only: a result below K is therefore exact, whatever
    scores were left out, and K itself means that the support may be wider.
    """
    gaps = largest[0] - largest
    ranks = jnp.arange(1, largest.shape[0] + 1)
    return jnp.sum(1 + jnp.cumsum(gaps) > ranks * gaps).astype(jnp.int32)


@partial(jax.jit, static_argnames="width")
def _nearest(
    new_na: Float[Array, "n a"], anchors_sa: Float[Array, "s a"], block_b: Int[Array, " b"], width: int
) -> tuple[Int[Array, "b K"], Int[Array, " b"]]:
    similarity_bs = jnp.matmul(new_na[block_b], anchors_sa.T, precision=jax.lax.Precision.HIGHEST)
    # Without the barrier XLA's CPU compiler fuses what follows into the top-k and sorts whole rows: 36 times slower.
    largest_bk, indices_bk = jax.lax.optimization_barrier(jax.lax.top_k(similarity_bs, width))
    return indices_bk, jax.vmap(sparsemax_support)(largest_bk)


def neighbours(
    aux_new: Float[np.ndarray, "n a"], aux_shared: Float[np.ndarray, "s a"]
) -> tuple[Int[np.ndarray, "n K"], Int[np.ndarray, " n"]]:
    """Support of `sparsemax(cos(aux_new_i, aux_shared))` for every new token (SALT §3 steps 2 and 3).

    Returns `indices` [n, K], nearest first and 0 past the support, and `support` [n]. Exact: a token whose support
    does not end within the similarities looked at is redone with four times as many. Only a block of the [n, s]
    similarities exists at a time. A zero vector is equally far (cosine 0) from everything.
    """
    count, anchors = len(aux_new), len(aux_shared)
    new_na, anchors_sa = _unit_rows(aux_new), _unit_rows(aux_shared)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    support = np.zeros(count, np.int32)
    todo, width = np.arange(count, dtype=np.int32), min(FIRST_WIDTH, anchors)
    while len(todo):
        wider: list[np.ndarray] = []
        for block, real in in_blocks(todo, anchors + new_na.shape[1]):
            indices_bk, support_b = (np.asarray(x)[:real] for x in _nearest(new_na, anchors_sa, block, width))
            proven = (support_b < width) | (width == anchors)
            done = block[:real][proven]
            support[done] = support_b[proven]
            found.append((done, indices_bk[proven], support_b[proven]))
            wider.append(block[:real][~proven])
        todo, width = np.concatenate(wider), min(4 * width, anchors)
    indices = np.zeros((count, int(support.max(initial=1))), np.int32)
    for done, indices_bk, support_b in found:
        kept = min(indices.shape[1], indices_bk.shape[1])
        inside: Bool[np.ndarray, "b K"] = np.arange(kept) < support_b[:, None]
        indices[done, :kept] = np.where(inside, indices_bk[:, :kept], 0)
    return indices, support


def _unit_rows(vectors: Float[np.ndarray, "n a"]) -> Float[Array, "n a"]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return jnp.asarray(vectors / np.where(norms > 0, norms, 1), jnp.float32)
