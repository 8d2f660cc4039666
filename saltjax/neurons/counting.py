"""What one batch of text adds to the statistics of every neuron, computed where the neurons are."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from saltjax.models.decoder import Params, tapped
from saltjax.models.tap import Tap
from saltjax.neurons import ranks
from saltjax.train.mesh import BATCH


class Sums(NamedTuple):
    """Of all layers and neurons, over the tokens of some batches; float32 and int32, so for few batches at a time."""

    above: Int[Array, "*l e f"]  # tokens with an activation above each threshold
    total: Float[Array, "*l f"]
    absolute: Float[Array, "*l f"]
    low: Float[Array, "*l f"]
    high: Float[Array, "*l f"]
    quantiles: Float[Array, "*l q f"]  # the sum over batches of each batch's quantiles


@partial(jax.jit, static_argnames=("graphdef", "dtype", "point", "percents", "mesh"), donate_argnames="before")
def counted(
    graphdef: nnx.GraphDef,
    params: Params,
    tokens: Int[Array, "b t"],
    segments: Int[Array, "b t"],
    positions: Int[Array, "b t"],
    thresholds: Float[Array, "l e f"],
    before: Sums,
    dtype: Any,
    point: str,
    percents: tuple[float, ...],
    mesh: Mesh,
) -> Sums:
    """`before` with these windows. What counts is every token but BOS and padding (those at position 0)."""
    valid = positions > 0
    see = partial(_sums, valid=valid, percents=percents)
    fresh = _run(graphdef, params, tokens, segments, positions, dtype, Tap(point, see, thresholds), mesh)
    lowest, highest = jnp.minimum(before.low, fresh.low), jnp.maximum(before.high, fresh.high)
    return jax.tree.map(jnp.add, before, fresh)._replace(low=lowest, high=highest)


@partial(jax.jit, static_argnames=("graphdef", "dtype", "point", "percents", "mesh"))
def quantiles(
    graphdef: nnx.GraphDef,
    params: Params,
    tokens: Int[Array, "b t"],
    segments: Int[Array, "b t"],
    positions: Int[Array, "b t"],
    dtype: Any,
    point: str,
    percents: tuple[float, ...],
    mesh: Mesh,
) -> Float[Array, "l q f"]:
    """The quantiles of every neuron over the tokens of these windows."""
    see = partial(ranks.quantiles, valid=positions > 0, percents=percents)
    return _run(graphdef, params, tokens, segments, positions, dtype, Tap(point, lambda h, _: see(h)), mesh)


def _run(
    graphdef: nnx.GraphDef,
    params: Params,
    tokens: Array,
    segments: Array,
    positions: Array,
    dtype: Any,
    tap: Tap,
    mesh: Mesh,
) -> Any:
    rows = NamedSharding(mesh, P(BATCH))
    constrain = partial(jax.lax.with_sharding_constraint, shardings=rows)
    _, kept = tapped(graphdef, params, tokens, positions, segments, dtype, tap, constrain=constrain)
    return jax.lax.with_sharding_constraint(kept, NamedSharding(mesh, P()))


def _sums(
    h: Float[Array, "b t f"], thresholds: Float[Array, "e f"], valid: Bool[Array, "b t"], percents: tuple[float, ...]
) -> Sums:
    h, here = h.astype(jnp.float32), valid[..., None]
    counting = jnp.where(here, h, 0.0)
    return Sums(
        ranks.above(jnp.where(here, h, -jnp.inf), thresholds),
        counting.sum((0, 1)),
        jnp.abs(counting).sum((0, 1)),
        jnp.where(here, h, jnp.inf).min((0, 1)),
        jnp.where(here, h, -jnp.inf).max((0, 1)),
        ranks.quantiles(h, valid, percents) if percents else jnp.zeros((0, h.shape[-1]), jnp.float32),
    )
