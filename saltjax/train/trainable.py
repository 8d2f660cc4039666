"""Which parameters learn: a mask over the tree, and the split of the tree that it means.

A mask holds for each parameter True (learns), False (frozen), the tuple of layers that learn of a stacked one [L, ...],
or single elements of it. `select` cuts out what learns, and that alone is differentiated and given moments; `merge`
puts it back. `join` puts it back for the forward pass, leaving stacked parameters of which some layers learn in two
parts (`sweep.py`): so frozen parameters and frozen layers cost no weight gradient and no optimizer memory.
"""

import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from saltjax.errors import UserError
from saltjax.train.elements import NEURON_AXIS, PREFIX, Elements, of_neurons, read_elements
from saltjax.train.neuronsets import MASKED, SPARSE, chosen
from saltjax.train.sharding import leaves, nested
from saltjax.train.sweep import Stack

Learns = bool | tuple[int, ...] | Elements
Mask = dict[str, Learns]
EMBEDDINGS = ("embed.table", "head.table", "head.bias")
USE = "full, embeddings, layers:0,1,-1, lora, neurons:FILE@LANG, lora:FILE@LANG, elements:FILE or a pattern"


def trainable(params: dict, spec: str) -> Mask:
    """The mask {path: learns} of `spec`, one of these or several of them joined by `+`:

    full                everything but adapters
    embeddings          input, head and its bias
    layers:0,1,-1       all of these layers
    layers.mlp.*        what matches a pattern with wildcards
    layers.mlp.up@0,1   and of it these layers
    lora                the adapters (`lora.py`)
    neurons:FILE@vi     the neurons of a language (`neuronsets.py`)
    lora:FILE@vi        the adapters, those of the MLP for these neurons alone
    elements:FILE       boolean arrays by path (`elements.py`)

    UserError: no such layer, a pattern that matches nothing, a bad file of masks or neurons, neurons without adapters.
    """
    shapes = {path: x.shape for path, x in leaves(params)}
    mask: Mask = dict.fromkeys(shapes, False)
    for part in spec.split("+"):
        for path, learns in _one(shapes, part.strip()).items():
            mask[path] = _union(path, mask[path], learns)
    depth = _depth(shapes)
    return {path: True if learns == tuple(range(depth)) else learns for path, learns in mask.items()}


def _one(shapes: dict[str, tuple[int, ...]], spec: str) -> Mask:
    base = {path: shape for path, shape in shapes.items() if not path.startswith("lora.")}
    if spec == "full":
        return dict.fromkeys(base, True)
    if spec == "embeddings":
        return {path: True for path in base if path in EMBEDDINGS}
    if spec == "lora" and len(base) < len(shapes):
        return {path: True for path in shapes if path not in base}
    if spec.startswith(SPARSE):
        neurons = chosen(spec.removeprefix(SPARSE), shapes)
        return {path: of_neurons(neurons, path, base[path]) for path in base if path in NEURON_AXIS}
    if spec.startswith(MASKED) and len(base) < len(shapes):
        neurons = chosen(spec.removeprefix(MASKED), shapes)
        adapters = {path: shape for path, shape in shapes.items() if path not in base}
        if not any(path in NEURON_AXIS for path in adapters):
            raise UserError(
                f"trainable={spec}: no neuron would learn; lora.targets needs one of the MLP: layers.mlp.gate"
            )
        return {
            path: of_neurons(neurons, path, shape) if path in NEURON_AXIS else True for path, shape in adapters.items()
        }
    if spec.startswith(PREFIX):
        return dict(read_elements(Path(spec.removeprefix(PREFIX)), shapes, EMBEDDINGS))
    if spec.startswith("layers:"):
        return dict.fromkeys(fnmatch.filter(base, "layers.*"), _layers(shapes, spec, spec.removeprefix("layers:")))
    pattern, at, layers = spec.partition("@")
    found = fnmatch.filter(shapes if pattern.startswith("lora.") else base, pattern)
    if not found:
        raise UserError(f"trainable={spec} matches no parameter; use {USE} over {', '.join(base)}")
    if not at:
        return dict.fromkeys(found, True)
    if odd := [path for path in found if "layers." not in path]:
        raise UserError(f"trainable={spec}: {odd[0]} has no layers")
    return dict.fromkeys(found, _layers(shapes, spec, layers))


def _layers(shapes: dict[str, tuple[int, ...]], spec: str, text: str) -> tuple[int, ...]:
    depth = _depth(shapes)
    try:
        chosen = [int(index) for index in text.split(",")]
    except ValueError:
        raise UserError(f"trainable={spec}: expected layer numbers, as in layers:0,1,-1") from None
    if wrong := [index for index in chosen if not -depth <= index < depth]:
        raise UserError(f"trainable={spec}: there is no layer {wrong[0]}; the model has layers 0 to {depth - 1}")
    return tuple(sorted({index % depth for index in chosen}))


def _depth(shapes: dict[str, tuple[int, ...]]) -> int:
    return next(shape[0] for path, shape in shapes.items() if path.startswith("layers."))


def _union(path: str, a: Learns, b: Learns) -> Learns:
    if a is True or b is True:
        return True
    if not a or not b:
        return a or b
    if isinstance(a, Elements) or isinstance(b, Elements):
        raise UserError(f"trainable: {path} is in a file of elements and in another part; leave it out of one of them")
    return tuple(sorted({*a, *b}))


def select(params: dict, mask: Mask) -> dict[str, Any]:
    """{path: what learns of it}: whole arrays, the learning layers [len(layers), ...] of stacked ones, elements."""
    return {path: x if learns is True else x[_index(learns)] for path, x in leaves(params) if (learns := mask[path])}


def _index(learns: Learns) -> Any:
    return learns.index if isinstance(learns, Elements) else np.array(learns)


def merge(params: dict, learning: dict[str, Any], mask: Mask) -> dict:
    """`params` with what learns put back in its place; the inverse of `select`."""

    def put(path: str, x: Any) -> Any:
        learns = mask[path]
        if isinstance(learns, bool):
            return learning[path] if learns else x
        return x.at[_index(learns)].set(learning[path], unique_indices=True)

    return nested({path: put(path, x) for path, x in leaves(params)})


def join(params: dict, learning: dict[str, Any], mask: Mask) -> dict:
    """What `merge` gives, to be read by `Forward.hidden` only: where some layers learn and others do not, stacked
    parameters are a `Stack` of both parts."""
    whole = merge(params, learning, {path: m if not isinstance(m, tuple) else False for path, m in mask.items()})
    if not any(isinstance(learns, tuple) for learns in mask.values()):
        return whole

    def stack(path: str, x: Any) -> Any:
        learns = mask[path]
        if "layers." not in path:
            return x
        if isinstance(learns, tuple):
            return Stack(x, learning[path], learns)
        return Stack(x, x, tuple(range(len(x)))) if learns else Stack(x, None, ())

    return nested({path: stack(path, x) for path, x in leaves(whole)})


def count(params: dict, mask: Mask) -> int:
    """How many numbers learn."""
    total = 0
    for path, x in leaves(params):
        learns = mask[path]
        if isinstance(learns, Elements):
            total += learns.number
        elif isinstance(learns, tuple):
            total += x.size // x.shape[0] * len(learns)
        else:
            total += x.size * learns
    return total
