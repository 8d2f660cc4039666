"""Causal cross entropy whose logits never exist whole."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def targets(
    tokens: Int[Array, "b t"], segments: Int[Array, "b t"], learns: Int[Array, "b t"] | None = None
) -> tuple[Int[Array, "b t"], Bool[Array, "b t"]]:
    """The next token of each position, and whether it counts: it lies in the same segment and is not padding (0); and,
    with `learns` (1 for the tokens of answers, else 0), it is to be learned."""
    following = jnp.roll(tokens, -1, axis=1)
    counts = (segments == jnp.roll(segments, -1, axis=1)) & (segments > 0)
    if learns is not None:
        counts &= jnp.roll(learns, -1, axis=1) > 0
    return following, counts.at[:, -1].set(False)


class Sums(NamedTuple):
    """Over the valid positions, float32: -log softmax(logits)[target]; 1; logsumexp(logits)^2, for the z-loss."""

    loss: Float[Array, ""]
    number: Float[Array, ""]
    squares: Float[Array, ""]


def chunked_cross_entropy(
    hidden: Float[Array, "b t d"],
    logits: Callable[[Float[Array, "b c d"]], Float[Array, "b c v"]],
    following: Int[Array, "b t"],
    valid: Bool[Array, "b t"],
    chunk: int = 128,
) -> Sums:
    """The sums over all positions of the cross entropy of `logits(hidden)` with `following`, in float32.

    Takes `chunk` positions of all sequences at a time and computes them again in the backward pass: at most
    [b, chunk, v] logits exist. What `logits` closes over (the float32 table, rounded inside) is a constant of the scan,
    so that its gradient is summed over the chunks in float32. The target's logit is picked by comparison, not by
    gather, so that v may be sharded.
    """
    b, t, _ = hidden.shape
    chunk = min(chunk, t)
    chunks = -(-t // chunk)

    def cut(x: Array) -> Array:  # [b, t, ...] -> [chunks, b, chunk, ...]; time is cut, so the batch stays spread out
        x = jnp.pad(x, ((0, 0), (0, chunks * chunk - t)) + ((0, 0),) * (x.ndim - 2))
        return jnp.moveaxis(x.reshape(b, chunks, chunk, *x.shape[2:]), 1, 0)

    @jax.checkpoint
    def body(_: None, piece: tuple[Array, Array, Array]) -> tuple[None, tuple[Array, Array]]:
        h, target, ok = piece
        scores = logits(h)
        is_target = jnp.arange(scores.shape[-1]) == target[..., None]
        z = jax.nn.logsumexp(scores, axis=-1)
        loss = z - jnp.sum(jnp.where(is_target, scores, 0.0), axis=-1)
        return None, (jnp.sum(jnp.where(ok, loss, 0.0)), jnp.sum(jnp.where(ok, z * z, 0.0)))

    with jax.named_scope("loss"):
        _, (losses, squares) = jax.lax.scan(body, None, (cut(hidden), cut(following), cut(valid)))
    return Sums(losses.sum(), valid.sum(dtype=jnp.float32), squares.sum())
