"""LoRA: a low-rank addition to each chosen linear map of every layer (Hu et al. 2021, arXiv 2106.09685).

The adapters are parameters beside the others, `lora.PATH.a [L, inputs..., r]` and `lora.PATH.b [L, r, outputs...]` for
the parameter PATH, which stands for itself plus alpha / r * a b. As in PEFT a is uniform in +-1/sqrt(inputs) and b
zero, so a run begins with the model as it was. With `trainable=lora:FILE@LANG` rows of down's a that belong to other
neurons are zero too, and stay so (`elements.py`).
"""

import fnmatch
import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from saltjax.errors import UserError
from saltjax.models.model import leaf_at
from saltjax.train.config import AdaptConfig
from saltjax.train.matrices import Axes, axes
from saltjax.train.neuronsets import chosen
from saltjax.train.sharding import leaves, nested


def with_adapters(params: dict, config: AdaptConfig) -> dict:
    """`params` and fresh adapters (NumPy arrays; shapes only when `params` is abstract) if any phase trains them.

    UserError: a pattern in `lora.targets` that matches no linear map of a layer, or one of an expert.
    """
    if not config.has_adapters:
        return params
    adapters: dict[str, Any] = {}
    shapes = {path: x.shape for path, x in leaves(params)}
    neurons = [chosen(choice, shapes) for choice in config.adapter_neurons]
    for path, found in _targets(params, config.lora.targets).items():
        x = leaf_at(params, path)
        inputs = tuple(x.shape[i] for i in found.inputs)
        a, b = (
            (x.shape[0], *inputs, config.lora.rank),
            (x.shape[0], config.lora.rank, *(x.shape[i] for i in found.outputs)),
        )
        if isinstance(x, jax.ShapeDtypeStruct):
            adapters[f"lora.{path}.a"] = jax.ShapeDtypeStruct(a, jnp.float32)
            adapters[f"lora.{path}.b"] = jax.ShapeDtypeStruct(b, jnp.float32)
        else:
            bound = 1 / math.sqrt(math.prod(inputs))
            random = np.random.default_rng([config.seed, zlib.crc32(path.encode())])
            adapters[f"lora.{path}.a"] = random.uniform(-bound, bound, a).astype(np.float32)
            adapters[f"lora.{path}.b"] = np.zeros(b, np.float32)
            if neurons and path == "layers.mlp.down":
                adapters[f"lora.{path}.a"] *= neurons[0][..., None]
    return {**params, **nested(adapters)}


def _targets(params: dict, patterns: str) -> dict[str, Axes]:
    maps = {path: found for path, _ in leaves(params) if (found := axes(path))}
    chosen: dict[str, Axes] = {}
    for pattern in patterns.split("+"):
        here = fnmatch.filter(maps, pattern.strip())
        if not here:
            raise UserError(f"lora.targets={patterns}: {pattern} matches no linear map; there are {', '.join(maps)}")
        if experts := [path for path in here if path.startswith("layers.moe.")]:
            raise UserError(f"lora.targets={patterns}: {experts[0]} belongs to experts; there are no adapters for them")
        chosen |= {path: maps[path] for path in here}
    return chosen


def merged(params: dict, config: AdaptConfig) -> dict:
    """The parameters of the model itself: adapters added to what they belong to, and gone."""
    if "lora" not in params:
        return params
    flat = dict(leaves(params))
    base = {path: x for path, x in flat.items() if not path.startswith("lora.")}
    for path in base:
        if f"lora.{path}.a" in flat:
            base[path] = _add(base[path], flat[f"lora.{path}.a"], flat[f"lora.{path}.b"], config.lora.scale)
    return nested(base)


@jax.jit
def _add(weight: jax.Array, a: jax.Array, b: jax.Array, scale: Any) -> jax.Array:
    with jax.default_matmul_precision("highest"):
        return weight + scale * jax.vmap(lambda a, b: jnp.tensordot(a, b, 1))(a, b)
