"""Supports that hold nearly all anchors (a flat space): solved once for all anchors, corrected for those left out.

With more neighbours than dimensions the weights are `w = E (E'E)^-1 e`, and `E'E = T - R'R`, where `T = A'A` of all
anchors A [s, ht] is the same for every token and R [r, ht] are the anchors outside its support. By the formula of
Sherman, Morrison and Woodbury, with the hat matrix `H = A T^-1 A'` [s, s],

    w_j = g_j + H[j, R] (I - H[R, R])^-1 g_R,    g = A T^-1 e

so a token costs a Cholesky factor of its r left-out anchors instead of a product over its k > ht neighbours.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Shaped

from saltjax.transfer.blocks import by_size
from saltjax.transfer.cholesky import cholesky, inverse, trusted
from saltjax.transfer.each_token import on_devices, over_blocks

HIGHEST = jax.lax.Precision.HIGHEST
GEMM = 1 << 24  # elements of a batch on a CPU: the products with the shared tables want some dozen tokens
MOST_ANCHORS = 8192  # the hat matrix is s x s: 256 MiB of float32


def complement_weights(
    anchors_st: Float[Array, "s ht"],
    solved_st: Float[Array, "s ht"],
    hat_ss: Float[Array, "s s"],
    outside: Int[Array, " r"],
    count: Int[Array, ""],
    indices: Int[Array, " K"],
    row: Float[Array, " ht"],
) -> tuple[Float[Array, " K"], Float[Array, ""], Bool[Array, ""]]:
    """One token's weights, residual and trust, as `minimum_norm_weights` gives them.

    `solved` is A T^-1; `outside` names the anchors that are not in the support, the first `count` of them;
    `indices` those that are.
    """
    real = jnp.arange(outside.shape[0]) < count
    both = real[:, None] & real
    part = jnp.where(both, jnp.eye(outside.shape[0]) - hat_ss[outside[:, None], outside], 0)
    scale = inverse(jnp.sqrt(jnp.diagonal(part)))
    factor, smallest = cholesky(part * scale[:, None] * scale, empty=~(scale > 0))
    broken = jnp.any(real & ~(scale > 0))  # an anchor that alone spans a dimension was left out
    s = anchors_st.shape[0]
    is_outside = jnp.zeros(s, bool).at[jnp.where(real, outside, s)].set(True, mode="drop")

    def solve_gram(r: Float[Array, " ht"]) -> Float[Array, " s"]:
        g = jnp.matmul(solved_st, r, precision=HIGHEST)
        y = scale * cho_solve((factor, True), scale * g[outside])
        y_s = jnp.zeros(s).at[jnp.where(real, outside, s)].set(y, mode="drop")
        return jnp.where(is_outside, 0, g + jnp.matmul(hat_ss, y_s, precision=HIGHEST))

    e = row.astype(jnp.float32)
    w = solve_gram(e)
    unexplained = e - jnp.matmul(w, anchors_st, precision=HIGHEST)
    step = solve_gram(unexplained)
    residual = jnp.linalg.norm(unexplained) * inverse(jnp.linalg.norm(e))
    inside = jnp.arange(indices.shape[0]) < s - count
    return jnp.where(inside, (w + step)[indices], 0), residual, trusted(w, step, smallest) & ~broken


def nearly_all(support: Int[np.ndarray, " n"], anchors: int, dim: int) -> Bool[np.ndarray, " n"]:
    """The tokens that are cheaper solved by what their support leaves out; none when the preparation does not pay."""
    wide = (support > dim) & (anchors - support <= dim)
    return wide & (anchors <= MOST_ANCHORS) & (wide.sum() * dim * dim > anchors * anchors)


class Complement(NamedTuple):
    """What all tokens share: A, A T^-1 and the hat matrix, formed in float64, kept in float32 on the devices."""

    tables: tuple[jax.Array, ...]
    mesh: Mesh | None

    @classmethod
    def of(cls, target_shared: Shaped[np.ndarray, "s ht"], mesh: Mesh | None) -> "Complement":
        A = target_shared.astype(np.float64)
        scale = np.linalg.norm(A, axis=0)
        U = A / np.where(scale > 0, scale, 1)
        values, vectors = np.linalg.eigh(U.T @ U)
        kept = values > 1e-10 * values[-1]  # a table without full rank: the pivots of its tokens will say so
        whitened = U @ (vectors[:, kept] / np.sqrt(values[kept]))
        solved = whitened @ (vectors[:, kept] / np.sqrt(values[kept])).T / np.where(scale > 0, scale, 1)
        hat = np.empty((len(A), len(A)), np.float32)
        for start in range(0, len(A), 1024):
            hat[start : start + 1024] = whitened[start : start + 1024] @ whitened.T
        return cls(on_devices([A.astype(np.float32), solved.astype(np.float32), hat], mesh), mesh)

    def solve(
        self,
        target_new: Shaped[np.ndarray, "n ht"],
        indices: Int[np.ndarray, "n K"],
        support: Int[np.ndarray, " n"],
        members: Int[np.ndarray, " m"],
    ) -> Iterator[tuple[Int[np.ndarray, " b"], tuple[np.ndarray, ...]]]:
        """As `each_token.over_blocks`: blocks of `members` with weights in the order of `indices`, residual, trust."""
        anchors = self.tables[0].shape[0]
        left_out = anchors - support[members]
        for width, positions in by_size(left_out, indices[members, 0]):

            def tokens(block: np.ndarray, width: int = width) -> tuple[np.ndarray, ...]:
                inside = np.zeros((len(block), anchors), bool)
                for mask, i in zip(inside, block, strict=True):
                    mask[indices[i, : support[i]]] = True
                outside = np.zeros((len(block), width), np.int32)
                for row, mask in zip(outside, inside, strict=True):
                    found = np.flatnonzero(~mask)
                    row[: len(found)] = found
                return outside, (anchors - support[block]).astype(np.int32), indices[block], target_new[block]

            elements = width * width + anchors
            yield from over_blocks(
                complement_weights, self.tables, members[positions], tokens, elements, self.mesh, cpu_budget=GEMM
            )
