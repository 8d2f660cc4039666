"""adapt: train a model directory on text, in a run directory that can be resumed."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from saltjax.api._training import Material, named, trained
from saltjax.data.feed import gather
from saltjax.data.mixture import Corpus, weighted_path
from saltjax.data.tokens import Progress
from saltjax.errors import UserError
from saltjax.train.config import AdaptConfig, read_config


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
    settings = read_config(config, overrides)
    corpora = gather(_corpora(text, tfds, layout, settings))
    inputs = {"text": [str(path) for path in text] or (f"tfds:{tfds}" if tfds else [])}
    material = Material(corpora, dict(named(str(value)) for value in valid), inputs)
    return trained(model, Path(run), settings, material, progress)


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
