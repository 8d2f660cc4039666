"""adapt: train a model directory on text, in a run directory that can be resumed."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from saltjax.data.corpus import Source, TextFile
from saltjax.data.pipeline import Windows, batches
from saltjax.data.tfds import TfdsSplit
from saltjax.data.tokens import tokenized
from saltjax.errors import UserError
from saltjax.evaluate.bits_per_byte import held_out, score
from saltjax.hub.config import read_config as read_model_config
from saltjax.hub.locate import locate
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.models.decoder import Params, abstract_model
from saltjax.models.families import family_of
from saltjax.models.load import load_model
from saltjax.models.model import Model
from saltjax.train.config import read_config
from saltjax.train.loop import train
from saltjax.train.mesh import check_batch, make_mesh
from saltjax.train.run import create, is_run, resolved, resume, stored_dtypes
from saltjax.train.sharding import param_shardings

CACHE = Path("~/.cache/saltjax/tokens")
# Rows of the vocabulary's tables on the devices; a constant, so that a run can be resumed on another mesh.
VOCABULARY_MULTIPLE = 128


def adapt(
    model: str | Path,
    run: str | Path,
    *,
    text: Sequence[str | Path] = (),
    tfds: str | None = None,
    valid: Sequence[str | Path] = (),
    layout: str = "line",
    config: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Train MODEL (a directory or hub id) on text, or resume RUN if it exists.

    `text`: files, one document a line (`layout="blank"`: separated by blank lines); or `tfds`: a TFDS name, or a
    directory prepared as array_record. `valid`: held-out files, as PATH or NAME=PATH. Settings come from the YAML file
    `config` and then from `overrides` ("learning_rate=1e-4"); see `train.config.AdaptConfig`.

    Returns run, steps, loss (nats a token), valid{NAME: bits per byte}, tokens_per_second, checkpoint, data{documents,
    tokens, bytes, unknown, windows, padding}, interrupted.
    Raises UserError for a mistake in any of these, and on a resumed run for settings that differ from the run's.
    """
    run = Path(run)
    settings = resolved(read_config(config, overrides))
    if bool(text) == bool(tfds):
        raise UserError("give the text to learn from with --text FILE..., or a TFDS set with --tfds NAME")
    sources: list[Source] = [TfdsSplit(tfds)] if tfds else [TextFile(Path(path), layout) for path in text]
    held = dict(_named(str(value)) for value in valid)
    inputs = {
        "model": str(model),
        "text": [str(path) for path in text] or f"tfds:{tfds}",
        "text_sha256": [source.fingerprint() for source in sources],
        "valid": {name: str(path) for name, path in held.items()},
    }
    mesh = make_mesh(settings.mesh)
    check_batch(mesh, settings.batch_size)
    directory = run / "model" if is_run(run) else locate(model)
    hf_config, tokenizer = read_model_config(directory), load_tokenizer(directory)
    decoder = family_of(hf_config).decoder_config(hf_config)
    if settings.seq_len > decoder.max_positions:
        raise UserError(f"seq_len={settings.seq_len} is more than the {decoder.max_positions} positions of {model}")
    scored = {name: held_out(path, tokenizer, settings.seq_len) for name, path in held.items()}
    store = tokenized(sources, tokenizer, CACHE.expanduser(), layout)
    if store.counts.largest_id >= decoder.vocab_size:
        raise UserError(
            f"{directory}: the tokenizer gives id {store.counts.largest_id}, but the model has "
            f"{decoder.vocab_size} embedding rows; they do not belong together"
        )
    windows = Windows(store, settings.seq_len)
    if not len(windows):
        raise UserError(f"the tokenizer of {model} gives no token for this text")
    counts = store.counts
    print(
        f"{counts.documents:,} documents, {counts.tokens:,} tokens of {counts.bytes / counts.tokens:.2f} bytes, "
        f"{counts.unknown:,} unknown; {len(windows):,} windows of {settings.seq_len}, {windows.waste:.1%} padding",
        file=sys.stderr,
    )

    def shardings(params: Params) -> Any:
        return param_shardings(params, mesh)

    if is_run(run):
        opened = resume(run, settings, inputs)
    if is_run(run) and opened.checkpoints.is_dir() and any(opened.checkpoints.iterdir()):
        padded = decoder.padded(VOCABULARY_MULTIPLE)
        loaded = Model(padded, *abstract_model(padded), stored_dtypes(opened))
    else:
        loaded = load_model(locate(model), shardings, pad_vocab_to=VOCABULARY_MULTIPLE)
    if not is_run(run):
        opened = create(run, settings, inputs, directory, loaded.dtypes)

    dtype = jnp.dtype(settings.compute_dtype)
    rows = settings.batch_size

    def scores(params: Params) -> dict[str, float]:
        return {
            name: score(loaded.config, loaded.graphdef, params, text, rows, dtype).bits_per_byte
            for name, text in scored.items()
        }

    feed = batches(
        store, settings.seq_len, settings.batch_size, settings.seed, jax.process_index(), jax.process_count()
    )
    trained = train(loaded, feed, opened, scores if scored else None, mesh)
    return {
        "run": str(run),
        "steps": trained.step,
        "loss": trained.loss,
        "valid": trained.valid,
        "tokens_per_second": trained.tokens_per_second,
        "checkpoint": str(trained.checkpoint) if trained.checkpoint else None,
        "data": {**dataclasses.asdict(counts), "windows": len(windows), "padding": windows.waste},
        "interrupted": trained.interrupted,
    }


def _named(value: str) -> tuple[str, Path]:
    """NAME=PATH, or PATH named by its stem: `de.valid.txt.xz` is `de.valid`."""
    name, equals, path = value.partition("=")
    if equals and not Path(value).exists():
        return name, Path(path)
    stem = Path(value).name
    for suffix in (".gz", ".xz", ".zst", ".txt"):
        stem = stem.removesuffix(suffix)
    return stem, Path(value)
