"""The state of a pass on disk, named by everything that it depends on and replaced whole."""

import hashlib
import json
import os
import uuid
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

import saltjax
from saltjax.errors import UserError
from saltjax.hub.tensors import open_checkpoint
from saltjax.neurons.statistics import Statistics
from saltjax.neurons.text import Text

FORMAT = 1
ARRAYS = ("thresholds", "above", "total", "absolute", "low", "high", "quantiles")


def model_fingerprint(directory: Path) -> str:
    """SHA-256 of config.json and of the files that hold the weights."""
    digest = hashlib.sha256((directory / "config.json").read_bytes())
    for path in open_checkpoint(directory).files:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def key_of(model_sha256: str, text: Text, *settings: object) -> str:
    """The token store's own name covers the text's content and the tokenizer."""
    store, windows = text.windows.store, hashlib.sha256(text.chosen.astype(np.int64).tobytes()).hexdigest()
    name = store.directory.name if store.directory else store.content
    versions = [FORMAT, saltjax.__version__]
    key = [versions, model_sha256, name, text.windows.seq_len, windows, *map(str, settings)]
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]


def write(path: Path, done: int, found: Statistics) -> None:
    """`done` windows are in `found`. The file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    counts = {"done": done, "tokens": found.tokens, "batches": found.batches}
    try:
        arrays = {name: np.ascontiguousarray(getattr(found, name)) for name in ARRAYS}
        save_file(arrays, partial, {name: str(value) for name, value in counts.items()})
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path) -> tuple[int, Statistics]:
    try:
        with safe_open(path, "numpy") as file:
            counts = {name: int(value) for name, value in file.metadata().items()}
            arrays = {name: file.get_tensor(name) for name in ARRAYS}
    except (OSError, SafetensorError, ValueError, AttributeError):
        raise UserError(f"the state {path} is damaged; remove it, and the pass begins anew") from None
    return counts["done"], Statistics(counts["tokens"], counts["batches"], **arrays)
