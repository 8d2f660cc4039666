"""The decoder's layers in runs: neighbours of which the same parameters learn are one scan.

One scan over all layers would compute the weight gradient of every layer of a stacked parameter of which a single one
learns. Here what learns is scanned, and what is frozen is looked up by the layer's number, so that it is neither
differentiated nor copied.
"""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from saltjax.models.decoder import REMAT, Constrain, matmul_precision
from saltjax.models.layerwise import Layerwise
from saltjax.models.mask import Places
from saltjax.train.lowrank import multiplied
from saltjax.train.sharding import leaves, nested


class Stack(NamedTuple):
    """A stacked parameter [L, ...]: `frozen` holds it, but layer layers[i] is `learning[i]`."""

    frozen: Array
    learning: Array | None
    layers: tuple[int, ...]


def runs(stacks: dict[str, Stack], depth: int) -> list[tuple[int, int]]:
    """The longest runs [start, stop) of layers such that of each the same parameters learn."""
    learns = [frozenset(path for path, stack in stacks.items() if layer in stack.layers) for layer in range(depth)]
    cuts = [0, *(i for i in range(1, depth) if learns[i] != learns[i - 1]), depth]
    return list(itertools.pairwise(cuts))


def swept(
    graphdef: nnx.GraphDef,
    params: dict,
    tokens: Int[Array, "b t"],
    positions: Int[Array, "b t"],
    segments: Int[Array, "b t"],
    dtype: Any,
    *,
    remat: str,
    unroll: bool,
    constrain: Constrain,
    scale: float,
) -> Float[Array, "b t d"]:
    """`models.decoder.hidden_states` of parameters whose `layers` (and `lora.layers`) are arrays or `Stack`s.

    With `lora.layers.PATH.{a, b}` the parameter `layers.PATH` is itself plus `scale` a b.
    """
    stacks = {path: x if isinstance(x, Stack) else Stack(x, x, tuple(range(len(x)))) for path, x in _stacked(params)}
    depth = len(next(iter(stacks.values())).frozen)
    base = {path: stack.frozen for path, stack in stacks.items() if not path.startswith("lora.")}
    rest = {name: part for name, part in params.items() if name not in ("layers", "lora")}
    with matmul_precision(dtype):
        model = nnx.merge(graphdef, {**rest, **nested(base)})
        block, _ = nnx.split(model.layers)
        places = Places(positions, segments)
        layerwise = Layerwise(model.config, places, places)

        def layer(weights: dict[str, Array], x: Array, own: Any) -> Array:
            whole = nnx.merge(block, nested(weights)["layers"])
            return constrain(whole(x, layerwise.turn(own), layerwise.mask(own)))

        def body(x: Array, scanned: tuple[Array, Any, dict[str, Array]]) -> tuple[Array, None]:
            number, own, learning = scanned
            here = {
                path: learning[path] if path in learning else _at(stack.frozen, number)
                for path, stack in stacks.items()
            }
            return multiplied(layer, here, scale)(x, own), None

        x = constrain(model.embedded(tokens, positions, dtype))
        for start, stop in runs(stacks, depth):
            learning = {path: _part(stack, start, stop) for path, stack in stacks.items() if start in stack.layers}
            own = jax.tree.map(lambda value, start=start, stop=stop: value[start:stop], layerwise.own)
            with jax.named_scope("layers"):
                x, _ = jax.lax.scan(REMAT[remat](body), x, (jnp.arange(start, stop), own, learning), unroll=unroll)
        return model.norm(x)


def _stacked(params: dict) -> list[tuple[str, Any]]:
    return [(path, x) for path, x in leaves(params) if path.startswith(("layers.", "lora.layers."))]


def _at(x: Array, number: Int[Array, ""]) -> Array:
    return jax.lax.dynamic_index_in_dim(x, number, keepdims=False)


def _part(stack: Stack, start: int, stop: int) -> Array:
    """Layers start..stop of what learns; they follow one another there."""
    first = stack.layers.index(start)
    part = stack.learning[first : first + stop - start]  # type: ignore[index]
    return part
