"""Our parameters as the tensors of a Hugging Face checkpoint: the table of the family, read from right to left."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from saltjax.errors import UserError
from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import Params, abstract_model
from saltjax.models.layout import shared_axis, to_stored
from saltjax.models.model import leaf_at, stored_tensors


def export_tensors(
    config: DecoderConfig, params: Params, dtypes: Mapping[str, Any]
) -> Iterator[tuple[str, np.ndarray]]:
    """(name, array) of every tensor, one at a time, padding rows stripped, in the dtypes given (`Model.dtypes`).

    A tensor that was not changed comes back bit for bit: bfloat16 and float16 survive the way through float32.
    Raises UserError when a trained value does not fit the float16 that it came in.
    """
    for name, (shape, parts) in stored_tensors(config, abstract_model(config)[1], dtypes).items():
        pieces = [to_stored(row.pattern, _host(leaf_at(params, row.path), index)) for row, index, _, _ in parts]
        axis = shared_axis(parts[0].row.pattern)
        whole = pieces[0] if axis is None else np.concatenate(pieces, axis)
        array = whole[tuple(slice(size) for size in shape)]
        with np.errstate(over="ignore"):  # reported below
            cast = array.astype(np.dtype(dtypes[name]), copy=False)
        if cast.dtype == np.float16 and not np.array_equal(np.isfinite(cast), np.isfinite(array)):
            raise UserError(f"{name}: values up to {np.abs(array).max():.3g} do not fit float16; export as bfloat16")
        yield name, cast


def _host(leaf: Any, index: tuple[int, ...]) -> np.ndarray:
    return np.asarray(_at(leaf, index) if index else leaf)


@jax.jit
def _at(leaf: Any, index: tuple[Any, ...]) -> jax.Array:
    """leaf[index] with traced numbers: one compilation for all layers and experts."""
    for i in index:
        leaf = jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False)
    return leaf
