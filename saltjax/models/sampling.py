"""The next token from its scores: the most likely one, one drawn from the softmax, or from the nucleus."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

How = Literal["greedy", "softmax", "nucleus"]


def nucleus(scores: Float[Array, "b v"], top_p: Float[Array, ""] | float) -> Bool[Array, "b v"]:
    """True for the fewest tokens that together have at least the probability `top_p` (Holtzman et al. 2020, 3.1).

    Taken by falling probability, of equal ones the smaller id first; the most likely is always in. Nothing is sorted,
    which costs more than a layer on CPUs: the least probability is found by bisection. Floats that are not negative
    are ordered as their bits are, so 31 halvings find it exactly.
    """
    top_p = jnp.maximum(top_p, jnp.finfo(jnp.float32).tiny)  # 0 would leave nothing
    p = jax.nn.softmax(scores, axis=-1)
    bits = jax.lax.bitcast_convert_type(p, jnp.int32)

    def mass(chosen: Bool[Array, "b v"]) -> Float[Array, "b 1"]:
        return jnp.where(chosen, p, 0.0).sum(axis=-1, keepdims=True)

    def halve(_: Int[Array, ""], between: tuple[Array, Array]) -> tuple[Array, Array]:
        """Tokens from `low` on are enough, from `high` on too few."""
        low, high = between
        middle = low + (high - low) // 2
        enough = mass(bits >= middle) >= top_p
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    most = bits.max(axis=-1, keepdims=True)
    low, _ = jax.lax.fori_loop(0, 31, halve, (jnp.zeros_like(most), most + 1))
    above, equal = bits > low, bits == low
    each = jnp.where(equal, p, 0.0).max(axis=-1, keepdims=True)
    earlier = jnp.cumsum(equal, axis=-1) - equal
    return above | (equal & (mass(above) + earlier * each < top_p))


def drawn(
    scores: Float[Array, "b v"],
    keys: Key[Array, "b"],
    how: How,
    temperature: Float[Array, ""] | float = 1.0,
    top_p: Float[Array, ""] | float = 1.0,
) -> Int[Array, "b"]:
    """One id a row. `softmax` draws from p = softmax(scores / temperature), `nucleus` from the nucleus of p.

    Each row has its own key, so it does not matter what other rows there are. A token's noise depends on its id alone:
    the two ways of drawing agree on whatever is in the nucleus.
    """
    if how == "greedy":
        return scores.argmax(axis=-1).astype(jnp.int32)
    scores = (scores - scores.max(axis=-1, keepdims=True)) / temperature  # the largest is 0 at any temperature
    if how == "nucleus":
        scores = jnp.where(nucleus(scores, top_p), scores, -jnp.inf)
    return jax.vmap(jax.random.categorical)(keys, scores).astype(jnp.int32)
