"""A model: its configuration, the static graph, the parameters, and the stored dtype of every tensor."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import Params, abstract_model
from saltjax.models.families import FAMILIES
from saltjax.models.families.family import Row
from saltjax.models.initial import initial
from saltjax.models.layout import shared_axis, stored_shape

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


class Part(NamedTuple):
    """`leaf[at]` of the parameter of `row`: `size` places from `start` on along the axis that the parts share."""

    row: Row
    at: tuple[int, ...]
    start: int = 0
    size: int = 0


class Stored(NamedTuple):
    """One tensor of a checkpoint: its stored shape, and the parts of our parameters that it holds."""

    shape: tuple[int, ...]
    parts: tuple[Part, ...]


def stored_tensors(config: DecoderConfig, abstract: Params, names: Collection[str] = ()) -> dict[str, Stored]:
    """Every tensor that a checkpoint of this model holds, by Hugging Face name, in the order of the table.

    A row is used when our tree has its path, so switches (biases, a tied head) need no mention in the tables. `names`
    are those of an actual checkpoint; they decide between spellings with and without a prefix (`Family.prefixes`).
    """
    family = FAMILIES[config.family]
    found: dict[str, Stored] = {}
    used = 0
    for row in family.rows:
        leaf = leaf_at(abstract, row.path)
        if leaf is None:
            continue
        used += 1
        shape = stored_shape(row.pattern, leaf.shape[row.stacked :])
        if row.vocabulary:
            shape = (config.vocab_size, *shape[1:])
        for index in np.ndindex(*leaf.shape[: row.stacked]):
            name = family.spelled(row.name.format(*index), names)
            found[name] = _with_part(found.get(name), row, index, shape)
    if used != len(jax.tree.leaves(abstract)):
        raise ValueError(f"the {config.family} table does not name every parameter of this configuration")
    return found


def _with_part(stored: Stored | None, row: Row, index: tuple[int, ...], shape: tuple[int, ...]) -> Stored:
    axis = shared_axis(row.pattern)
    if axis is None:
        if stored:
            raise ValueError(f"the table names {row.name} twice without a + that says where its parts lie")
        return Stored(shape, (Part(row, index),))
    before = stored or Stored((*shape[:axis], 0, *shape[axis + 1 :]), ())
    start, size = before.shape[axis], shape[axis]
    whole = (*shape[:axis], start + size, *shape[axis + 1 :])
    return Stored(whole, (*before.parts, Part(row, index, start, size)))


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
