"""adapt: train a model directory on text, in a run directory that can be resumed."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from saltjax.data.feed import account, described, feed, gather
from saltjax.data.mixture import Corpus, weighted_path
from saltjax.data.pipeline import batches
from saltjax.data.tokens import Progress
from saltjax.errors import UserError
from saltjax.evaluate.bits_per_byte import held_out, score
from saltjax.hub.config import read_config as read_model_config
from saltjax.hub.locate import locate
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.models.decoder import Params, abstract_model
from saltjax.models.families import family_of
from saltjax.models.load import load_model
from saltjax.models.model import Model
from saltjax.train.best import MEAN, NONE
from saltjax.train.checkpoint import steps
from saltjax.train.config import AdaptConfig, read_config
from saltjax.train.elements import digests
from saltjax.train.ema import SUFFIX
from saltjax.train.loop import train
from saltjax.train.lora import with_adapters
from saltjax.train.mesh import check_batch, make_mesh
from saltjax.train.meter import device_memory
from saltjax.train.neuronsets import origins
from saltjax.train.phases import Phases
from saltjax.train.processes import agreed, batch_part, primary
from saltjax.train.run import Run, create, is_run, resolved, resume, stored_dtypes
from saltjax.train.sharding import param_shardings
from saltjax.train.wandblog import check_installed

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
    progress: Callable[[str, Progress], None] | None = None,
) -> dict[str, Any]:
    """Train MODEL (a directory or hub id) on text, or resume RUN if it exists.

    `text`: files, patterns and folders (`data.folder.sources_of`; a line of a text file is a document, or with
    `layout="blank"` what blank lines separate), together one corpus; one with a weight, PATH=WEIGHT, is a corpus of its
    own and has that share of the tokens. Or `tfds`: a TFDS name, or a directory prepared as array_record. Or the
    setting `data`, for all of these together. `valid`: held-out files, as PATH or NAME=PATH. Settings come from the
    YAML file `config` and then from `overrides` ("learning_rate=1e-4"); see `train.config.AdaptConfig`. `progress` is
    told how far the tokenisation of each corpus is.

    Returns run, steps, loss (nats a token), valid{NAME: bits per byte}, tokens_per_second (and the other numbers of
    `train.meter`: step_seconds, data_wait, mfu, device_memory_peak_bytes, ...), checkpoint, data{documents,
    tokens, bytes, unknown, windows, padding, sources[{name, share, tokens_seen, epochs, ...}]}, interrupted.
    Raises UserError for a mistake in any of these, and on a resumed run for settings that differ from the run's.
    """
    run = Path(run)
    settings = resolved(read_config(config, overrides))
    check_installed(settings.wandb)
    gathered = gather(_corpora(text, tfds, layout, settings))
    held = dict(_named(str(value)) for value in valid)
    mesh = make_mesh(settings.mesh)
    check_batch(mesh, settings.batch_size, settings.accumulate)
    here = is_run(run)
    known = agreed(here)
    resumes = agreed(steps(Run(run, settings).checkpoints) if primary() else None)
    directory = run / "model" if here else locate(model)
    hf_config, tokenizer = read_model_config(directory), load_tokenizer(directory)
    decoder = family_of(hf_config).decoder_config(hf_config)
    if settings.seq_len > decoder.max_positions:
        raise UserError(f"seq_len={settings.seq_len} is more than the {decoder.max_positions} positions of {model}")
    padded = decoder.padded(VOCABULARY_MULTIPLE)
    Phases(with_adapters(abstract_model(padded)[1], settings), settings)  # says what is wrong before there is a run
    scored = {name: held_out(path, tokenizer, settings.seq_len) for name, path in held.items()}
    scores_of = (*held, *(name + SUFFIX for name in held if settings.ema))
    if settings.keep_best not in (NONE, MEAN, *scores_of):
        raise UserError(
            f"keep_best={settings.keep_best} is no held-out text; "
            f"give --valid {settings.keep_best}=FILE too, or keep_best=mean"
        )
    fed = feed(gathered, tokenizer, settings.seq_len, Path(settings.cache).expanduser(), progress)
    largest = max(one.windows.store.counts.largest_id for one in fed)
    if largest >= decoder.vocab_size:
        raise UserError(
            f"{directory}: the tokenizer gives id {largest}, but the model has "
            f"{decoder.vocab_size} embedding rows; they do not belong together"
        )
    for line in described(fed) if primary() else ():
        print(line, file=sys.stderr)
    inputs = {
        "model": str(model),
        "text": [str(path) for path in text] or (f"tfds:{tfds}" if tfds else []),
        "text_sha256": [one.windows.store.content for one in fed],
        "valid": {name: str(path) for name, path in held.items()},
    }
    if masks := digests(settings.specs):
        inputs["elements_sha256"] = masks
    if neurons := origins(settings.specs):
        inputs["neurons"] = neurons

    def shardings(params: Params) -> Any:
        return param_shardings(params, mesh)

    opened = resume(run, settings, inputs) if known and primary() else Run(run, settings, inputs)
    if known and resumes:
        loaded = Model(padded, *abstract_model(padded), stored_dtypes(opened) if here else {})
    else:
        loaded = load_model(locate(model), shardings, pad_vocab_to=VOCABULARY_MULTIPLE)
    if not known and primary():
        opened = create(run, settings, inputs, directory, loaded.dtypes)
    if resumes and not known:  # the run's directory was lost, its checkpoints are elsewhere
        loaded = loaded._replace(params=jax.eval_shape(lambda params: params, loaded.params))

    dtype = jnp.dtype(settings.compute_dtype)
    rows = settings.batch_size

    def scores(params: Params) -> dict[str, float]:
        return {
            name: score(loaded.config, loaded.graphdef, params, text, rows, dtype).bits_per_byte
            for name, text in scored.items()
        }

    given = batches(
        [one.windows for one in fed],
        [one.share for one in fed],
        settings.batch_size,
        settings.seed,
        *batch_part(mesh, settings.batch_size),
    )

    def seen(step: int) -> dict[str, Any]:
        parts = dict(zip([one.name for one in fed], given.seen(step), strict=True))
        return {
            "tokens_seen": {name: part.tokens for name, part in parts.items()},
            "epochs": {name: round(part.epochs, 4) for name, part in parts.items()},
        }

    def decode(ids: np.ndarray) -> str:
        return str(tokenizer.decode(ids))

    trained = train(loaded, given, opened, scores if scored else None, mesh, seen, decode)
    return {
        "run": str(run),
        "steps": trained.step,
        "loss": trained.loss,
        "valid": trained.valid,
        **trained.speed,
        **device_memory(),
        "checkpoint": str(trained.checkpoint) if trained.checkpoint else None,
        "data": account(fed, given.seen(trained.step)),
        "interrupted": trained.interrupted,
    }


def _corpora(text: Sequence[str | Path], tfds: str | None, layout: str, settings: AdaptConfig) -> list[list[Corpus]]:
    """The corpora of a run, each as its entries; UserError unless exactly one of the three ways is used."""
    if bool(text) + bool(tfds) + bool(settings.data) != 1:
        raise UserError(
            "give the text to learn from with --text FILE..., or a TFDS set with --tfds NAME, or `data` in a --config"
        )
    if not text:
        return [[one] for one in settings.data or (Corpus(tfds=str(tfds)),)]
    entries = [dataclasses.replace(weighted_path(str(path)), layout=layout) for path in text]
    plain = [entry for entry in entries if entry.weight is None]
    return [*([plain] if plain else []), *([entry] for entry in entries if entry.weight is not None)]


def _named(value: str) -> tuple[str, Path]:
    """NAME=PATH, or PATH named as a corpus is: `de.valid.txt.xz` is `de.valid`."""
    name, equals, path = value.partition("=")
    if equals and not Path(value).exists():
        return name, Path(path)
    return Corpus(value).title, Path(value)
