"""A model: its configuration, the static graph, the parameters, and the stored dtype of every tensor."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import Params, abstract_model
from saltjax.models.families import FAMILIES
from saltjax.models.families.family import Row
from saltjax.models.initial import initial
from saltjax.models.layout import stored_shape

Shardings = Callable[[Params], Any]


class Model(NamedTuple):
    """`dtypes` maps Hugging Face tensor names to the dtypes they are exported with."""

    config: DecoderConfig
    graphdef: nnx.GraphDef
    params: Params
    dtypes: Mapping[str, np.dtype]


def leaf_at(tree: Params, path: str) -> Any:
    """The leaf of a nested dict at "a.b.c", or None."""
    node: Any = tree
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def targets(abstract: Params, shardings: Shardings | None) -> Any:
    """A sharding for every parameter; without a rule, all on the first device."""
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return shardings(abstract) if shardings else jax.tree.map(lambda _: here, abstract)


class Stored(NamedTuple):
    """One tensor of a checkpoint: where it belongs and its stored shape."""

    row: Row
    layer: int | None
    shape: tuple[int, ...]


def stored_tensors(config: DecoderConfig, abstract: Params) -> dict[str, Stored]:
    """Every tensor that a checkpoint of this model holds, by Hugging Face name, in the order of the table.

    A row is used when our tree has its path, so switches (biases, a tied head) need no mention in the tables.
    """
    found: dict[str, Stored] = {}
    used = 0
    for row in FAMILIES[config.family].rows:
        leaf = leaf_at(abstract, row.path)
        if leaf is None:
            continue
        used += 1
        shape = leaf.shape[1:] if row.stacked else leaf.shape
        stored = stored_shape(row.pattern, shape)
        if row.vocabulary:
            stored = (config.vocab_size, *stored[1:])
        for layer in range(config.layers) if row.stacked else [None]:
            found[row.name.format(layer)] = Stored(row, layer, stored)
    if used != len(jax.tree.leaves(abstract)):
        raise ValueError(f"the {config.family} table does not name every parameter of this configuration")
    return found


def random_model(
    config: DecoderConfig, seed: int, shardings: Shardings | None = None, *, pad_vocab_to: int = 1
) -> Model:
    """A freshly initialised model (see `initial.py`), float32, to be exported as float32.

    Same seed, same values, on any sharding and with any padding.
    """
    config = config.padded(pad_vocab_to) if pad_vocab_to > 1 else config
    graphdef, abstract = abstract_model(config)

    def place(path: tuple, leaf: jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding) -> jax.Array:
        values = initial(config, ".".join(key.key for key in path), leaf.shape, seed)
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: values[index])

    params = jax.tree_util.tree_map_with_path(place, abstract, targets(abstract, shardings))
    dtypes = dict.fromkeys(stored_tensors(config, abstract), np.dtype(np.float32))
    return Model(config, graphdef, params, dtypes)
