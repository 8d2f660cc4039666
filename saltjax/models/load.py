"""From a Hugging Face directory straight onto the devices: everything is checked first, then parameter by parameter."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from saltjax.errors import UserError
from saltjax.hub.config import read_config
from saltjax.hub.tensors import DTYPES, Checkpoint, open_checkpoint
from saltjax.models.decoder import abstract_model
from saltjax.models.families import Family, family_of
from saltjax.models.model import Model as Model
from saltjax.models.model import Shardings, Stored, stored_tensors, targets
from saltjax.models.model import random_model as random_model
from saltjax.models.place import Sources, place

FLOATS = ("F32", "BF16", "F16")  # as safetensors calls them


def load_model(
    directory: str | Path,
    shardings: Shardings | None = None,
    *,
    dtype: Any = jnp.float32,
    pad_vocab_to: int = 1,
) -> Model:
    """The model of an HF directory, its parameters as `dtype` (float32 masters, normally).

    `shardings` turns the abstract parameters (`jax.ShapeDtypeStruct`s) into a tree of shardings; without it everything
    goes to the first device. `pad_vocab_to` pads the vocabulary's rows with zeros to a multiple (see DecoderConfig).

    Raises UserError: an architecture or a field that is not supported; tensors missing, unexpected, misshapen or of
    another dtype than float32, bfloat16, float16 (all of them in one message).
    """
    directory = Path(directory)
    hf_config = read_config(directory)
    family = family_of(hf_config)
    config = family.decoder_config(hf_config).padded(pad_vocab_to)
    graphdef, abstract = abstract_model(config, dtype)
    checkpoint = open_checkpoint(directory)
    stored = stored_tensors(config, abstract, checkpoint.entries)
    _check(directory, checkpoint, stored, family, config.tie_embeddings)

    sources: dict[tuple[str, ...], Sources] = {}
    for name, spec in stored.items():
        for part in spec.parts:
            sources.setdefault(tuple(part.row.path.split(".")), {})[part.at] = (name, part)
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf, sharding: place(checkpoint, sources[tuple(key.key for key in path)], leaf, sharding),
        abstract,
        targets(abstract, shardings),
    )
    return Model(config, graphdef, params, {name: DTYPES[checkpoint.entries[name].dtype] for name in stored})


def _check(directory: Path, checkpoint: Checkpoint, stored: dict[str, Stored], family: Family, tied: bool) -> None:
    """One UserError with everything that does not fit."""
    entries = checkpoint.entries
    copies = [
        name for name in (family.spelled(copy, entries) for copy in family.tied_copies) if tied and name in entries
    ]
    problems = {
        "missing": [name for name in stored if name not in entries],
        "unexpected": [name for name in entries if name not in {*stored, *copies} and not family.ignores(name)],
        "misshapen": [
            f"{name} is {list(entries[name].shape)}, config.json says {list(spec.shape)}"
            for name, spec in stored.items()
            if name in entries and tuple(entries[name].shape) != spec.shape
        ],
        "of an unsupported dtype": [
            f"{name} is {entries[name].dtype}"
            for name in stored
            if name in entries and entries[name].dtype not in FLOATS
        ],
    }
    found = [f"{kind}: {_few(items)}" for kind, items in problems.items() if items]
    if found:
        raise UserError(f"{directory}: the tensors do not fit config.json; {'; '.join(found)}")
    table = next(name for name, spec in stored.items() if spec.parts[0].row.path == "embed.table")
    for name in copies:
        if not checkpoint.same(name, table):
            raise UserError(
                f"{directory}: {name} differs from {table} although config.json ties them; "
                'set "tie_word_embeddings": false there'
            )


def _few(items: list[str], most: int = 8) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
