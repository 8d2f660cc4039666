"""Causal cross entropy whose logits never exist whole."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero
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
    """Over the valid positions, float32. Only `objective` has a gradient."""

    objective: Float[Array, ""]  # loss + z_loss * logsumexp(logits)^2
    loss: Float[Array, ""]  # -log softmax(logits)[target]
    number: Float[Array, ""]  # 1


Tables = dict  # of arrays: what the logits depend on beside the hidden states
Logits = Callable[[Tables, Float[Array, "b c d"]], Float[Array, "b c v"]]


def chunked_cross_entropy(
    logits: Logits,
    tables: Tables,
    hidden: Float[Array, "b t d"],
    following: Int[Array, "b t"],
    valid: Bool[Array, "b t"],
    chunk: int = 128,
    z_loss: float = 0.0,
) -> Sums:
    """The sums over all positions of the cross entropy of `logits(tables, hidden)` with `following`, in float32.

    Takes `chunk` positions of all sequences at a time: at most [b, chunk, v] logits exist. A gradient, where one is
    asked for, is computed on the way forward, chunk by chunk, and the backward pass only scales it: logits are computed
    once. That of the tables is summed over the chunks in their own dtype (float32, rounded inside `logits`). `logits`
    must not close over an array that learns.
    """
    return _sums(logits, chunk, z_loss, tables, hidden, following, valid)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _sums(
    logits: Logits, chunk: int, z_loss: float, tables: Tables, hidden: Array, following: Array, valid: Array
) -> Sums:
    def body(_: None, piece: tuple[Array, Array, Array]) -> tuple[None, tuple[Array, Array]]:
        h, target, ok = piece
        return None, _piece(logits(tables, h), target, ok, z_loss)

    with jax.named_scope("loss"):
        _, (objectives, losses) = jax.lax.scan(body, None, _cut((hidden, following, valid), chunk))
    return Sums(objectives.sum(), losses.sum(), valid.sum(dtype=jnp.float32))


def _piece(scores: Array, target: Array, ok: Array, z_loss: float) -> tuple[Array, Array]:
    """(objective, loss). The target's score is picked by comparison, not by gather, so that v may be sharded."""
    is_target = jnp.arange(scores.shape[-1]) == target[..., None]
    z = jax.nn.logsumexp(scores, axis=-1)
    loss = jnp.sum(jnp.where(ok, z - jnp.sum(jnp.where(is_target, scores, 0.0), axis=-1), 0.0))
    return (loss + z_loss * jnp.sum(jnp.where(ok, z * z, 0.0)) if z_loss else loss), loss


def _forward(
    logits: Logits, chunk: int, z_loss: float, tables: Any, hidden: Any, following: Any, valid: Any
) -> tuple[Sums, tuple[Tables, Array | None]]:
    """The sums, and the gradient of the objective; None for what does not learn."""
    following, valid = following.value, valid.value
    ours = jax.tree.map(lambda x: x.value if x.perturbed else None, tables, is_leaf=_is_primal)
    fixed = jax.tree.map(lambda x: None if x.perturbed else x.value, tables, is_leaf=_is_primal)
    below = hidden.perturbed  # whether anything below the head learns

    def objective(learning: tuple[Tables, Array | None], piece: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        h, target, ok = piece
        whole = jax.tree.map(lambda x, y: y if x is None else x, learning[0], fixed, is_leaf=lambda x: x is None)
        return _piece(logits(whole, h if learning[1] is None else learning[1]), target, ok, z_loss)

    def body(total: Tables, piece: tuple[Array, Array, Array]) -> tuple[Tables, tuple[Array, Array, Array | None]]:
        learning = ours, piece[0] if below else None
        (one, loss), (of_tables, of_hidden) = jax.value_and_grad(objective, has_aux=True)(learning, piece)
        return jax.tree.map(jnp.add, total, of_tables), (one, loss, of_hidden)

    with jax.named_scope("loss"):
        zero, pieces = jax.tree.map(jnp.zeros_like, ours), _cut((hidden.value, following, valid), chunk)
        of_tables, (objectives, losses, of_hidden) = jax.lax.scan(body, zero, pieces)
        of_hidden = None if of_hidden is None else _joined(of_hidden, hidden.value.shape)
    return Sums(objectives.sum(), losses.sum(), valid.sum(dtype=jnp.float32)), (of_tables, of_hidden)


def _backward(
    logits: Logits, chunk: int, z_loss: float, gradient: tuple[Tables, Array | None], towards: Sums
) -> tuple[Tables | None, Array | None, None, None]:
    by = towards.objective
    if isinstance(by, SymbolicZero):
        return None, None, None, None
    return *jax.tree.map(lambda x: (by * x).astype(x.dtype), gradient), None, None


_sums.defvjp(_forward, _backward, symbolic_zeros=True)


def _is_primal(x: Any) -> bool:
    return isinstance(x, CustomVJPPrimal)


def _cut(whole: tuple[Array, Array, Array], chunk: int) -> tuple[Array, Array, Array]:
    """[b, t, ...] -> [chunks, b, chunk, ...]; time is cut, so the batch stays spread out."""

    def cut(x: Array) -> Array:
        b, t = x.shape[:2]
        size = min(chunk, t)
        chunks = -(-t // size)
        x = jnp.pad(x, ((0, 0), (0, chunks * size - t)) + ((0, 0),) * (x.ndim - 2))
        return jnp.moveaxis(x.reshape(b, chunks, size, *x.shape[2:]), 1, 0)

    hidden, following, valid = whole
    return cut(hidden), cut(following), cut(valid)


def _joined(pieces: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of `_cut`."""
    return jnp.moveaxis(pieces, 0, 1).reshape(shape[0], -1, *shape[2:])[:, : shape[1]]
