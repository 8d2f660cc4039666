"""A parameter out of a checkpoint onto the devices, in host memory that does not grow with the model.

On a CPU the host's arrays become the device's without a copy. For an accelerator a stacked parameter is assembled on
the devices from blocks of a few layers, so the host holds one block at a time.
"""

import math
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from saltjax.hub.tensors import Checkpoint
from saltjax.models.layout import as_stored, selection, shared_axis
from saltjax.models.model import Part
from saltjax.models.slabs import Job, aligned, copy_jobs, run

BLOCK = 1 << 28  # bytes of a parameter in host memory on its way to an accelerator (one layer at least)

# For each layer (and expert) of a parameter the stored tensor and the part of it.
Sources = dict[tuple[int, ...], tuple[str, Part]]


def place(checkpoint: Checkpoint, sources: Sources, leaf: jax.ShapeDtypeStruct, sharding: Sharding) -> jax.Array:
    """The parameter `leaf` on `sharding`. Each process reads what its own devices hold, a replica once."""
    stacked = len(next(iter(sources)))
    layers = leaf.shape[0] if stacked else 1
    step = _layers_at_once(leaf, sharding) if stacked else 1
    if step >= layers:
        return _block(checkpoint, sources, leaf, sharding, 0)
    inner = _without_layers(sharding)
    whole = _zeros(leaf.shape, leaf.dtype, sharding)
    for start in range(0, layers, step):
        block = jax.ShapeDtypeStruct((min(step, layers - start), *leaf.shape[1:]), leaf.dtype)
        whole = _put(sharding)(whole, _block(checkpoint, sources, block, inner, start), start)
        whole.block_until_ready()  # else the next block would be made while this one still waits on the host
    return whole


def _layers_at_once(leaf: jax.ShapeDtypeStruct, sharding: Sharding) -> int:
    devices: set[Any] = sharding.device_set
    if all(device.platform == "cpu" for device in devices):
        return leaf.shape[0]  # host memory is device memory
    return max(1, BLOCK // (math.prod(leaf.shape[1:]) * leaf.dtype.itemsize))


def _without_layers(sharding: Sharding) -> Sharding:
    """The sharding of a block of layers, which need not divide as all layers do."""
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, PartitionSpec(None, *sharding.spec[1:]))
    return sharding


def _zeros(shape: tuple[int, ...], dtype: Any, sharding: Sharding) -> jax.Array:
    return jax.jit(partial(jnp.zeros, shape, dtype), out_shardings=sharding)()


@lru_cache
def _put(sharding: Sharding) -> Any:
    """whole[start : start + len(block)] = block, in place."""
    return jax.jit(
        lambda whole, block, start: jax.lax.dynamic_update_slice_in_dim(whole, block, start, 0),
        donate_argnums=0,
        out_shardings=sharding,
    )


def _block(
    checkpoint: Checkpoint, sources: Sources, leaf: jax.ShapeDtypeStruct, sharding: Sharding, first: int
) -> jax.Array:
    """Layers `first`, `first` + 1, ... of a parameter, or a parameter that is not stacked."""
    indices = {_key(index): index for index in sharding.addressable_devices_indices_map(leaf.shape).values()}
    shards = {key: aligned(_shape(index, leaf.shape), np.dtype(leaf.dtype)) for key, index in indices.items()}
    run(job for key, index in indices.items() for job in _fill(checkpoint, sources, leaf, index, first, shards[key]))
    return jax.make_array_from_callback(leaf.shape, sharding, lambda index: shards[_key(index)])


def _fill(
    checkpoint: Checkpoint, sources: Sources, leaf: jax.ShapeDtypeStruct, index: Any, first: int, out: np.ndarray
) -> Iterator[Job]:
    """The work that makes `out` the part `index` of a block. Rows beyond the stored vocabulary are zero."""
    stacked = len(next(iter(sources)))
    ranges = [range(*part.indices(size)) for part, size in zip(index, leaf.shape, strict=True)]
    for at in np.ndindex(*out.shape[:stacked]):
        layer = tuple(ranges[axis][i] + (first if axis == 0 else 0) for axis, i in enumerate(at))
        name, part = sources[layer]
        chosen = selection(part.row.pattern, leaf.shape[stacked:], index[stacked:])
        into = as_stored(part.row.pattern, out[at])
        if part.row.vocabulary:
            rows = max(0, min(len(into), checkpoint.entries[name].shape[0] - ranges[stacked].start))
            into[rows:], into = 0, into[:rows]
        yield from copy_jobs(partial(_part, checkpoint, name, part), chosen, into)


def _part(checkpoint: Checkpoint, name: str, part: Part) -> np.ndarray:
    """What belongs to one of the parameters that share a stored tensor."""
    tensor = checkpoint.read(name)
    axis = shared_axis(part.row.pattern)
    return tensor if axis is None else tensor[(slice(None),) * axis + (slice(part.start, part.start + part.size),)]


def _key(index: Any) -> tuple[tuple[Any, Any], ...]:
    return tuple((part.start, part.stop) for part in index)


def _shape(index: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(len(range(*part.indices(size))) for part, size in zip(index, shape, strict=True))
