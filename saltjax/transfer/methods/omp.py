"""Orthogonal matching pursuit (arXiv 2506.06607, mergekit's tokensurgeon): neighbours chosen for what they explain."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from saltjax.errors import UserError
from saltjax.transfer.each_token import Kernel, on_devices, over_blocks
from saltjax.transfer.leastsquares import solve
from saltjax.transfer.material import Material
from saltjax.transfer.mixture import Mixture
from saltjax.transfer.problem import Problem

HIGHEST = jax.lax.Precision.HIGHEST
MOST_ANCHORS = 8192  # with more the anchors' Gram matrix [s, s] is not kept: its rows are formed when asked for
ROUNDING = 1e-12  # of ||e||^2 ||h||^2: smaller squared inner products are float32's rounding, and so would choices be


@lru_cache
def greedy_support(k: int) -> Kernel:
    """The kernel for one token that chooses up to k anchors."""

    def kernel(
        anchors_st: Float[Array, "s ht"],
        gram_ss: Float[Array, "g g"],
        row: Float[Array, " ht"],
        inner_s: Float[Array, " s"],
    ) -> tuple[Int[Array, " k"], Int[Array, ""]]:
        """Anchors in the order of choice, and how many: less than k when they explain the row to float32's rounding.

        At every step the anchor of largest `|<r, h>|` joins the support; r is what the support leaves unexplained.
        With q the orthonormal directions of the support, `<r, h_j>` of all anchors is updated by `H q`, and `H q` comes
        from a row of `H H'` (`gram`; formed here when that is empty) and the earlier `H q` (batch OMP, Rubinstein et
        al. 2008): no product with H in a step.
        """
        square = jnp.sum(row * row)
        chosen, count = jnp.zeros(k, jnp.int32), jnp.int32(0)
        directions = jnp.zeros((0, inner_s.shape[0]), jnp.float32)  # H q, a row a direction
        state = (inner_s, chosen, count)

        def step(i: Array, carry: tuple) -> tuple:
            (inner_s, chosen, count), directions = carry
            score_s = jnp.abs(inner_s)
            # The first of the largest. jnp.argmax does the same, seven times slower on a CPU.
            j = jnp.min(jnp.where(score_s == jnp.max(score_s), jnp.arange(len(score_s)), len(score_s) - 1))
            gram_s = jnp.matmul(anchors_st, anchors_st[j], precision=HIGHEST) if gram_ss.shape[0] == 0 else gram_ss[j]
            along = gram_s - jnp.matmul(directions[:, j], directions, precision=HIGHEST)
            goes_on = (inner_s[j] ** 2 > ROUNDING * square * gram_s[j]) & (along[j] > 1e-6 * gram_s[j]) & (count == i)
            along = jnp.where(goes_on, along * jax.lax.rsqrt(jnp.where(goes_on, along[j], 1)), 0)
            size = jnp.where(goes_on, inner_s[j] / jnp.where(goes_on, along[j], 1), 0)
            state = (
                inner_s - size * along,
                chosen.at[i].set(jnp.where(goes_on, j, 0)),
                count + goes_on,
            )
            return state, directions.at[i].set(along)

        for start in range(0, k, 16):  # the directions' table grows, so that a step does not multiply by empty rows
            end = min(start + 16, k)
            directions = jnp.pad(directions, ((0, end - start), (0, 0)))
            state, directions = jax.lax.fori_loop(start, end, step, (state, directions))
        return state[1], state[2]

    return kernel


@jax.jit
def _inner(rows_bt: Float[Array, "b ht"], anchors_st: Float[Array, "s ht"]) -> Float[Array, "b s"]:
    """Of a whole block: for one token at a time the anchors would be read from memory again and again."""
    return jnp.matmul(rows_bt, anchors_st.T, precision=HIGHEST)


def omp(problem: Problem, material: Material, *, k: int = 64) -> Mixture:
    """`row = w E's`, `w = e pinv(E't)` over k anchors chosen greedily in the PLM: the same coefficients in both models.

    k = 64 is tokensurgeon's default. Anchors compete with their rows as they are (not of length one), as there. The
    coefficients are solved for anew from the rows, so they are least squares' whatever the search rounded.

    Raises UserError when `k` is not positive.
    """
    if k < 1:
        raise UserError(f"k={k} must be positive")
    anchors, new = problem.plm_anchors.astype(np.float32), problem.plm_new
    k = min(k, *anchors.shape)
    gram = anchors @ anchors.T if len(anchors) <= MOST_ANCHORS else np.zeros((0, 0), np.float32)
    tables = on_devices([anchors, gram], material.mesh)
    indices, support = np.zeros((len(new), k), np.int32), np.zeros(len(new), np.int32)
    everyone = np.arange(len(new), dtype=np.int32)
    rows = lambda block: (new[block], _inner(new[block], tables[0]))  # noqa: E731
    for block, (chosen, count) in over_blocks(
        greedy_support(k), tables, everyone, rows, k * len(anchors), material.mesh
    ):
        indices[block], support[block] = chosen, count
    weights, residual, _ = solve(new, anchors, indices, support, material.mesh)
    return Mixture(indices, weights, support, residual, material.mesh).over(problem.anchors_source)
