"""What `neurons find` and `layers find` have in common: a model and text by language, ready for a pass."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from saltjax.errors import UserError
from saltjax.hub.config import read_config
from saltjax.hub.locate import locate
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.models.families import family_of
from saltjax.models.load import load_model
from saltjax.neurons.collect import Pass, check
from saltjax.neurons.state import model_fingerprint
from saltjax.neurons.text import Text, texts
from saltjax.train.mesh import make_mesh
from saltjax.train.sharding import param_shardings

CACHE = "~/.cache/saltjax"
VOCABULARY_MULTIPLE = 128  # rows of the vocabulary's tables on the devices


class Opened(NamedTuple):
    run: Pass
    texts: dict[str, Text]
    provenance: dict[str, Any]


def opened(
    model: str | Path,
    text: Sequence[str | Path],
    point: str,
    seq_len: int | None,
    tokens: int | None,
    dtype: str | None,
    batch_size: int,
    reading: Callable[..., None] | None,
) -> Opened:
    """Everything that can be wrong is checked before the weights are read. UserError."""
    if batch_size < 1 or (tokens is not None and tokens < 1):
        raise UserError(f"--batch-size {batch_size} and --tokens {tokens} must be at least 1")
    directory = locate(model)
    config = family_of(hf := read_config(directory)).decoder_config(hf)
    length = min(1024, config.max_positions) if seq_len is None else seq_len
    compute = compute_dtype(dtype)
    cache = Path(CACHE).expanduser()
    found = texts(text, load_tokenizer(directory), length, cache / "tokens", tokens, reading)
    check(config, found, point, str(model))
    mesh, fingerprint = make_mesh(), model_fingerprint(directory)
    loaded = load_model(directory, partial(param_shardings, mesh=mesh), pad_vocab_to=VOCABULARY_MULTIPLE)
    run = Pass(loaded, fingerprint, mesh, point, jnp.dtype(compute), batch_size, cache / "statistics")
    provenance = {
        "model": str(model),
        "model_sha256": fingerprint,
        "text_sha256": {language: one.windows.store.content for language, one in found.items()},
        "point": point,
        "seq_len": length,
        "dtype": compute,
    }
    return Opened(run, found, provenance)


def compute_dtype(dtype: str | None) -> str:
    """By default float32 on a CPU, bfloat16 elsewhere."""
    compute = dtype or ("float32" if jax.default_backend() == "cpu" else "bfloat16")
    if compute not in ("float32", "bfloat16"):
        raise UserError(f"--dtype {compute} is not known; there are float32 and bfloat16")
    return compute
