"""Convex weights over neighbours: the sparsemax of cosine similarities, and the mixture that they make."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from saltjax.transfer.blocks import by_size
from saltjax.transfer.each_token import on_devices, over_blocks
from saltjax.transfer.mixture import Mixture
from saltjax.transfer.neighbours import neighbours, unit_rows


def sparsemax_weights(
    anchors_sa: Float[Array, "s a"], indices: Int[Array, " K"], support: Int[Array, ""], vector: Float[Array, " a"]
) -> Float[Array, " K"]:
    """The non-zero entries of `sparsemax(cos)` for one token whose support is known; unit rows, 0 past the support.

    With the similarities z falling, `p_j = z_j - (sum_S z - 1) / k` (Martins & Astudillo 2016, eq. 4), written in the
    gaps `d_j = z_1 - z_j` as `p_j = (1 + sum_S d) / k - d_j`, which loses no digits in a flat space.
    """
    inside = jnp.arange(indices.shape[0]) < support
    similarity = jnp.matmul(anchors_sa[indices], vector, precision=jax.lax.Precision.HIGHEST)
    gaps = jnp.where(inside, similarity[0] - similarity, 0)
    return jnp.where(inside, jnp.maximum((1 + jnp.sum(gaps)) / support - gaps, 0), 0)


def sparsemax_mixture(
    new: Float[np.ndarray, "n a"], anchors: Float[np.ndarray, "s a"], mesh: Mesh | None = None
) -> Mixture:
    """`row_i = sum_j sparsemax(cos(new_i, anchors))_j table[j]`, the table's rows in the anchors' order.

    Exact supports (`neighbours`); weights are non-negative and sum to one.
    """
    indices, support = neighbours(new, anchors, mesh)
    new_na, tables = unit_rows(new), on_devices([unit_rows(anchors)], mesh)
    weights = np.zeros(indices.shape, np.float32)
    for width, members in by_size(support, indices[:, 0]):
        kept = min(width, indices.shape[1])
        tokens = lambda block, kept=kept: (indices[block, :kept], support[block], new_na[block])  # noqa: E731
        for block, (weights_bk,) in over_blocks(
            sparsemax_weights, tables, members, tokens, kept * new_na.shape[1], mesh
        ):
            weights[block, :kept] = weights_bk
    return Mixture(indices, weights, support, mesh=mesh)
