"""Which anchors stand in for a new token: the support of a sparsemax over cosine similarities."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from saltjax.transfer.each_token import Kernel, on_devices, over_blocks

FIRST_WIDTH = 64  # similarities kept per token at first; wider supports are redone four times as wide
GEMM = 1 << 22  # elements of a batch of similarities on a CPU: its matrix product wants some hundred rows


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


@lru_cache
def largest_cosines(width: int) -> Kernel:
    """The kernel for one token that gives its `width` largest similarities: (anchors, similarities), largest first."""

    def kernel(
        anchors_sa: Float[Array, "s a"], vector: Float[Array, " a"]
    ) -> tuple[Int[Array, " width"], Float[Array, " width"]]:
        similarity_s = jnp.matmul(anchors_sa, vector, precision=jax.lax.Precision.HIGHEST)
        # Without the barrier XLA's CPU compiler fuses what follows into the top-k and sorts whole rows: 36x slower.
        largest, indices = jax.lax.optimization_barrier(jax.lax.top_k(similarity_s, width))
        return indices, largest

    return kernel


@lru_cache
def nearest(width: int) -> Kernel:
    """The kernel for one token that keeps its `width` largest similarities."""

    def kernel(
        anchors_sa: Float[Array, "s a"], vector: Float[Array, " a"]
    ) -> tuple[Int[Array, " width"], Int[Array, ""]]:
        """Anchors in order of similarity, and how many of them are the support (`width`: it may be wider)."""
        indices, largest = largest_cosines(width)(anchors_sa, vector)
        return indices, sparsemax_support(largest)

    return kernel


def neighbours(
    aux_new: Float[np.ndarray, "n a"], aux_shared: Float[np.ndarray, "s a"], mesh: Mesh | None = None
) -> tuple[Int[np.ndarray, "n K"], Int[np.ndarray, " n"]]:
    """Support of `sparsemax(cos(aux_new_i, aux_shared))` for every new token (SALT §3 steps 2 and 3).

    Returns `indices` [n, K], nearest first and 0 past the support, and `support` [n]. Exact: a token whose support
    does not end within the similarities looked at is redone with four times as many. Only a batch of the [n, s]
    similarities exists at a time. A zero vector is equally far (cosine 0) from everything.
    """
    count, anchors = len(aux_new), len(aux_shared)
    new_na, tables = unit_rows(aux_new), on_devices([unit_rows(aux_shared)], mesh)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    support = np.zeros(count, np.int32)
    todo, width = np.arange(count, dtype=np.int32), min(FIRST_WIDTH, anchors)
    while len(todo):
        wider: list[np.ndarray] = []
        rows = lambda block: (new_na[block],)  # noqa: E731
        for block, (indices_bk, support_b) in over_blocks(
            nearest(width), tables, todo, rows, anchors, mesh, cpu_budget=GEMM
        ):
            proven = (support_b < width) | (width == anchors)
            done = block[proven]
            support[done] = support_b[proven]
            found.append((done, indices_bk[proven]))
            wider.append(block[~proven])
        todo, width = np.concatenate(wider), min(4 * width, anchors)
    indices = np.zeros((count, int(support.max(initial=1))), np.int32)
    for done, indices_bk in found:
        kept = min(indices.shape[1], indices_bk.shape[1])
        inside: Bool[np.ndarray, "b K"] = np.arange(kept) < support[done, None]
        indices[done, :kept] = np.where(inside, indices_bk[:, :kept], 0)
    return indices, support


def most_similar(
    new: Float[np.ndarray, "n a"], anchors: Float[np.ndarray, "s a"], k: int, mesh: Mesh | None = None
) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """The min(k, s) anchors of largest cosine to each token, nearest first: `indices` [n, k] and the cosines [n, k]."""
    new_na, tables, k = unit_rows(new), on_devices([unit_rows(anchors)], mesh), min(k, len(anchors))
    indices, cosines = np.zeros((len(new), k), np.int32), np.zeros((len(new), k), np.float32)
    everyone = np.arange(len(new), dtype=np.int32)
    rows = lambda block: (new_na[block],)  # noqa: E731
    for block, (indices_bk, cosines_bk) in over_blocks(
        largest_cosines(k), tables, everyone, rows, len(anchors), mesh, cpu_budget=GEMM
    ):
        indices[block], cosines[block] = indices_bk, cosines_bk
    return indices, cosines


def unit_rows(vectors: Float[np.ndarray, "n a"]) -> Float[np.ndarray, "n a"]:
    """float32 rows of length 1; zero rows stay zero."""
    wide = np.asarray(vectors, np.float32)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(norms > 0, norms, 1)
