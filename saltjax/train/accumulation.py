"""Gradients of a batch in several pieces, one after another: the batch of a big machine on a small one."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from saltjax.train.loss import Sums
from saltjax.train.mesh import BATCH

Tree = dict[str, Array]


def accumulated(
    share: Callable[[Tree, Tree], tuple[Array, Sums]], learning: Tree, batch: Tree, pieces: int, mesh: Mesh
) -> tuple[Sums, Tree]:
    """(sums, gradient) of a batch from the `share` of the objective of each of its `pieces`, added up in float32.

    Shares add up to the objective, so a piece with more target tokens weighs more, and the result is that of the whole
    batch but for rounding. Piece i takes every pieces-th row from the i-th on: each device cuts its own rows.
    """
    gradient = jax.value_and_grad(share, has_aux=True)
    if pieces == 1:
        (_, sums), grads = gradient(learning, batch)
        return sums, grads

    def cut(x: Array) -> Array:
        parts = jnp.swapaxes(x.reshape(-1, pieces, *x.shape[1:]), 0, 1)
        return jax.lax.with_sharding_constraint(parts, NamedSharding(mesh, P(None, BATCH)))

    def add(total: tuple[Sums, Tree], piece: Tree) -> tuple[tuple[Sums, Tree], None]:
        (_, sums), grads = gradient(learning, piece)
        return jax.tree.map(jnp.add, total, (sums, grads)), None

    zero = Sums(*(jnp.zeros((), jnp.float32) for _ in Sums._fields)), jax.tree.map(jnp.zeros_like, learning)
    return jax.lax.scan(add, zero, jax.tree.map(cut, batch))[0]
