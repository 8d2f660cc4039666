"""Our parameters as the tensors of a Hugging Face checkpoint: the table of the family, read from right to left."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from saltjax.errors import UserError
from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import Params, abstract_model
from saltjax.models.layout import to_stored
from saltjax.models.model import leaf_at, stored_tensors


def export_tensors(
    config: DecoderConfig, params: Params, dtypes: Mapping[str, Any]
) -> Iterator[tuple[str, np.ndarray]]:
    """(name, array) of every tensor, one at a time, padding rows stripped, in the dtypes given (`Model.dtypes`).

    A tensor that was not changed comes back bit for bit: bfloat16 and float16 survive the way through float32.
    Raises UserError when a trained value does not fit the float16 that it came in.
    """
    for name, (row, layer, shape) in stored_tensors(config, abstract_model(config)[1]).items():
        leaf = leaf_at(params, row.path)
        ours = np.asarray(leaf if layer is None else _layer(leaf, layer))
        array = to_stored(row.pattern, ours)[tuple(slice(size) for size in shape)]
        with np.errstate(over="ignore"):  # reported below
            cast = array.astype(np.dtype(dtypes[name]), copy=False)
        if cast.dtype == np.float16 and not np.array_equal(np.isfinite(cast), np.isfinite(array)):
            raise UserError(f"{name}: values up to {np.abs(array).max():.3g} do not fit float16; export as bfloat16")
        yield name, cast


@jax.jit
def _layer(leaf: Any, layer: Any) -> jax.Array:
    """leaf[layer] with a traced index: one compilation for all layers."""
    return jax.lax.dynamic_index_in_dim(leaf, layer, keepdims=False)
