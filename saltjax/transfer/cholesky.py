"""Cholesky of a small Gram matrix in float32, and whether its answer can be trusted."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

PIVOT_FLOOR = 1e-4  # a smaller pivot of the unit-diagonal matrix: float32 may not resolve the row
MOVED = 1e-3  # a refinement that moves w by more of its norm: the next one would still be felt in float32


def inverse(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """1 / x, and 0 for 0."""
    return jnp.where(x > 0, 1 / jnp.where(x > 0, x, 1), 0)


def cholesky(gram: Float[Array, "m m"], empty: Bool[Array, " m"]) -> tuple[Float[Array, "m m"], Float[Array, ""]]:
    """Factor of a matrix of unit diagonal (`empty` rows replaced by the identity's) and its smallest pivot."""
    factor = jnp.linalg.cholesky(gram + jnp.diag(empty.astype(gram.dtype)), symmetrize_input=False)
    smallest = jnp.min(jnp.square(jnp.diagonal(factor)))
    return factor, jnp.where(jnp.isfinite(smallest), smallest, 0)


def trusted(w: Float[Array, " K"], step: Float[Array, " K"], smallest: Float[Array, ""]) -> Bool[Array, ""]:
    """Whether a solution, its first refinement and the smallest pivot say that float32 was enough (NaN says no)."""
    return (smallest > PIVOT_FLOOR) & (jnp.linalg.norm(step) <= MOVED * jnp.linalg.norm(w))
