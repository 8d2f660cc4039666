"""A model with another vocabulary: its tables are replaced in memory, everything else is shared."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from saltjax.models.decoder import abstract_model
from saltjax.models.model import Model, leaf_at, stored_tensors


def with_tables(model: Model, tables: Mapping[str, np.ndarray]) -> Model:
    """`model` with the tensors `tables` (Hugging Face name -> rows of the new vocabulary, all as many).

    Tables that are no parameter of ours (the stored copy of a tied head) are left out. Raises ValueError when a
    parameter that has a row per token is not given.
    """
    size = {len(table) for table in tables.values()}
    if len(size) != 1:
        raise ValueError(f"tables of {sorted(size)} rows are not of one vocabulary")
    config = replace(model.config, vocab_size=(rows := size.pop()), vocab_rows=rows)
    graphdef, abstract = abstract_model(config)
    params = _copied(model.params)
    for name, stored in stored_tensors(config, abstract, tables).items():
        row = stored.parts[0].row
        if not row.vocabulary:
            continue
        if name not in tables:
            raise ValueError(f"{name} has a row per token and is not given")
        *parents, last = row.path.split(".")
        dtype = leaf_at(model.params, row.path).dtype
        leaf_at(params, ".".join(parents))[last] = jnp.asarray(np.asarray(tables[name], np.float32), dtype)
    return Model(config, graphdef, params, model.dtypes)


def _copied(tree: Any) -> Any:
    """The dictionaries anew, the arrays as they are."""
    return {key: _copied(value) for key, value in tree.items()} if isinstance(tree, Mapping) else tree
