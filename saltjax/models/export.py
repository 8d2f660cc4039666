"""Our parameters as the tensors of a Hugging Face checkpoint: the table of the family, read from right to left."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from saltjax.errors import UserError
from saltjax.hub.shards import write_checkpoint
from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import Params
from saltjax.models.layout import as_stored, shared_axis
from saltjax.models.model import Part, leaf_at, stored_tensors


def write_model(out: Path, config: DecoderConfig, params: Params, dtypes: Mapping[str, Any]) -> None:
    """Write the tensors to `out` as safetensors, one in host memory at a time.

    With several processes all have to call it: parameters may lie on devices of each. The first one writes. Raises
    UserError like `export_tensors`.
    """
    tensors = export_tensors(config, params, dtypes)
    if jax.process_index() == 0:
        stored = stored_tensors(config, params, dtypes)
        write_checkpoint(out, {name: (np.dtype(dtypes[name]), spec.shape) for name, spec in stored.items()}, tensors)
    else:
        for _ in tensors:  # takes part in the gathering
            pass


def export_tensors(
    config: DecoderConfig, params: Params, dtypes: Mapping[str, Any]
) -> Iterator[tuple[str, np.ndarray]]:
    """(name, array) of every tensor, one at a time, padding rows stripped, in the dtypes given (`Model.dtypes`).

    Names are spelled as in `dtypes`. A tensor that was not changed comes back bit for bit: bfloat16 and float16
    survive the way through float32. Raises UserError when a trained value does not fit the float16 that it came in.
    """
    for name, (shape, parts) in stored_tensors(config, params, dtypes).items():
        out = np.empty(shape, np.dtype(dtypes[name]))
        for part in parts:
            _write(name, _host(leaf_at(params, part.row.path), part.at), part, out)
        yield name, out


def _write(name: str, ours: np.ndarray, part: Part, out: np.ndarray) -> None:
    """One parameter of one layer to its place in a stored tensor."""
    axis = shared_axis(part.row.pattern)
    place = slice(len(out)) if axis is None else slice(part.start, part.start + part.size)
    into = out[(slice(None),) * (axis or 0) + (place,)]
    array = as_stored(part.row.pattern, ours)[: len(into)]
    with np.errstate(over="ignore"):  # reported below
        into[...] = array
    if out.dtype == np.float16 and not np.array_equal(np.isfinite(into), np.isfinite(array)):
        raise UserError(f"{name}: values up to {np.abs(array).max():.3g} do not fit float16; export as bfloat16")


def _host(leaf: Any, at: tuple[int, ...]) -> np.ndarray:
    """leaf[at] on the host. With several processes all of them get it, and all have to ask."""
    array = _at(leaf, at) if at else leaf
    if array.is_fully_addressable:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


@jax.jit
def _at(leaf: Any, at: tuple[Any, ...]) -> jax.Array:
    """leaf[at] with traced numbers: one compilation for all layers and experts."""
    for i in at:
        leaf = jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False)
    return leaf
