"""Element masks: single numbers, rows or columns of a parameter that learn while the rest of it is frozen.

A mask is a boolean array of the parameter's shape. An axis along which it does not vary is left out, so that neurons
(rows and columns of the MLP) are a list of pairs (layer, neuron), however wide they are; only what is chosen is copied
out and has moments. The gradient of the whole parameter is computed, then cut.

Neuron j of a layer is column j of gate and up, with their biases, and row j of down (PyTorch stores them the other way
round); full-rank training of a language's neurons trains these (Gurgurov et al. 2025, arXiv 2510.13580). Adapters are
masked by neurons as in Mondal et al. 2025 (2503.17456), dW = A (m * B) with m = 1 in the chosen columns: of the two
factors the one that has an axis of neurons is zero elsewhere, and only its chosen places learn. Of the MLP the paper
adapts the gate alone; ours masks the adapters of up and down in the same way, where there are any.
"""

import dataclasses
import hashlib
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from safetensors import SafetensorError
from safetensors.numpy import load_file

from saltjax.errors import UserError

PREFIX = "elements:"
Index = tuple[slice | np.ndarray, ...]
NEURON_AXIS = {  # of parameters [L, ...]
    "layers.mlp.gate": 2, "layers.mlp.up": 2, "layers.mlp.down": 1, "layers.mlp.gate_bias": 1, "layers.mlp.up_bias": 1,
    "lora.layers.mlp.gate.b": 2, "lora.layers.mlp.up.b": 2, "lora.layers.mlp.down.a": 1,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Elements:
    """The chosen places of a parameter: for each axis the indices, or a slice that is all of it; x[index]."""

    index: Index
    number: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Elements) and all(map(_same, self.index, other.index))


def _same(a: slice | np.ndarray, b: slice | np.ndarray) -> bool:
    if isinstance(a, slice) or isinstance(b, slice):
        return type(a) is type(b)
    return np.array_equal(a, b)


def elements(mask: np.ndarray) -> Elements | bool:
    """The chosen places of a boolean array; True or False when it chooses everything or nothing."""
    if mask.all() or not mask.any():
        return bool(mask.all())
    varies = [bool((mask != mask.take([0], axis)).any()) for axis in range(mask.ndim)]
    reduced = mask[tuple(slice(None) if own else 0 for own in varies)]
    places = iter(np.nonzero(reduced))
    return Elements(tuple(next(places) if own else slice(None) for own in varies), int(mask.sum()))


def of_neurons(neurons: Bool[np.ndarray, "l f"], path: str, shape: tuple[int, ...]) -> Elements | bool:
    """What these neurons are of the parameter at `path`, one of `NEURON_AXIS`."""
    if neurons.all() or not neurons.any():
        return bool(neurons.any())
    axis, (layers, places) = NEURON_AXIS[path], np.nonzero(neurons)
    index = (layers, *(places if i == axis else slice(None) for i in range(1, len(shape))))
    return Elements(index, len(places) * (math.prod(shape) // neurons.size))


def digests(specs: Iterable[str]) -> list[str]:
    """SHA-256 of each file of masks that `specs` name, so that a run is resumed with the same ones. UserError."""
    parts = [part.strip() for spec in specs for part in spec.split("+")]
    paths = [Path(part.removeprefix(PREFIX)) for part in parts if part.startswith(PREFIX)]
    try:
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    except OSError as error:
        raise UserError(
            f"{error.filename}: cannot be read ({error.strerror}); check the path in {PREFIX}FILE"
        ) from None


def read_elements(
    path: Path, shapes: dict[str, tuple[int, ...]], padded: tuple[str, ...]
) -> dict[str, Elements | bool]:
    """{parameter: what of it learns} from a safetensors file of boolean arrays, named as our parameters are.

    Tables in `padded` may have fewer rows than ours. UserError: unreadable, an unknown name, another shape or dtype.
    """
    try:
        masks = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not a readable safetensors file of masks ({error})") from None
    found = {}
    for name, mask in masks.items():
        if name not in shapes:
            raise UserError(f"{path}: {name} is not a parameter; there are {', '.join(shapes)}")
        shape = shapes[name]
        if name in padded and mask.shape[1:] == shape[1:] and len(mask) < shape[0]:
            mask = np.pad(mask, [(0, shape[0] - len(mask)), *[(0, 0)] * (mask.ndim - 1)])
        if mask.shape != shape or mask.dtype != np.bool_:
            raise UserError(f"{path}: {name} is {mask.dtype} {list(mask.shape)}; a mask of it is bool {list(shape)}")
        found[name] = elements(mask)
    return found
