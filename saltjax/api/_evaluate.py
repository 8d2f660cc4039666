"""evaluate: how good a model is, on tasks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from saltjax.errors import UserError
from saltjax.evaluate.bits_per_byte import bits_per_byte
from saltjax.hub.locate import locate
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.models.load import load_model


def evaluate(
    model: str | Path,
    tasks: Sequence[str] = ("bpb",),
    *,
    text: Sequence[str | Path] = (),
    seq_len: int | None = None,
    dtype: str | None = None,
    batch_size: int = 8,
) -> dict[str, Any]:
    """Score MODEL (a directory or hub id). The task `bpb` measures bits per byte on each file of `text`.

    `seq_len`: by default the smaller of 1024 and the model's positions. `dtype` of the computation: by default float32
    on a CPU, bfloat16 elsewhere.

    Returns model, results{TASK{bits_per_byte, interval, bytes, n, tokens, unknown}}; the task is named `bpb`, and
    `bpb:FILE` where there are several files. Raises UserError.
    """
    unknown = [task for task in tasks if task != "bpb"]
    if unknown:
        raise UserError(f"task {unknown[0]!r} is not known; there is bpb (bits per byte of --text)")
    if not text:
        raise UserError("the task bpb needs text: --text FILE")
    directory = locate(model)
    tokenizer, loaded = load_tokenizer(directory), load_model(directory)
    length = seq_len or min(1024, loaded.config.max_positions)
    compute = dtype or ("float32" if jax.default_backend() == "cpu" else "bfloat16")
    if compute not in ("float32", "bfloat16"):
        raise UserError(f"--dtype {compute} is not known; there are float32 and bfloat16")
    results = {}
    for path in text:
        found = bits_per_byte(loaded, tokenizer, path, length, batch_size, jnp.dtype(compute))
        results["bpb" if len(text) == 1 else f"bpb:{path}"] = {
            "bits_per_byte": found.bits_per_byte,
            "interval": found.interval,
            "bytes": found.bytes,
            "n": found.documents,
            "tokens": found.tokens,
            "unknown": found.unknown,
        }
    return {"model": str(model), "seq_len": length, "dtype": compute, "results": results}
