"""finetune: train a model directory on examples of answers, in a run directory that can be resumed."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from saltjax.api._training import Material, named, trained
from saltjax.data.feed import gather, with_examples
from saltjax.data.mixture import Corpus, weighted_path
from saltjax.data.tokens import Progress
from saltjax.errors import UserError
from saltjax.train.config import read_config


def finetune(
    model: str | Path,
    run: str | Path,
    *,
    data: Sequence[str | Path] = (),
    valid: Sequence[str | Path] = (),
    config: str | Path | None = None,
    overrides: Sequence[str] = (),
    progress: Callable[[str, Progress], None] | None = None,
) -> dict[str, Any]:
    """Train MODEL (a directory or hub id) on the answers of examples, or resume RUN if it exists.

    `data`: JSON lines (files, patterns, folders) with conversations, prompts and completions, or instructions and
    outputs (`data.examples`), each [NAME=]PATH[=WEIGHT] a corpus of its own; with a weight it has that share of the
    tokens, without weights the shares are by size, so that each example comes once an epoch. Or the setting `data`.
    `valid`: held-out examples, as PATH or NAME=PATH. The setting `template` says how examples become tokens
    (`data.template`). Everything else is as in `adapt`: the settings (`train.config.AdaptConfig`), the run directory,
    what is trainable, export. A batch holds `batch_size` windows of whole examples; the loss is the mean over the
    tokens of all answers in it.

    Returns what `adapt` returns; valid{NAME} is in bits per byte of the answers (`evaluate.heldexamples`), and
    valid_loss{NAME} the same in nats a token; data{sources[...]} has answer_tokens and too_long (examples longer than
    seq_len, which are left out), too.
    Raises UserError: as `adapt`; for examples that cannot be read, all of a corpus together.
    """
    settings = read_config(config, overrides)
    if bool(data) == bool(settings.data):
        raise UserError("give the examples to learn from with --data [NAME=]FILE..., or `data` in a --config")
    groups = [[one] for one in settings.data or map(_corpus, map(str, data))]
    if sets := [group[0].tfds for group in groups if group[0].tfds]:
        raise UserError(f"data: {sets[0]} is a TFDS set; examples are JSON lines")
    held = dict(named(str(value)) for value in valid)
    inputs = {"examples": [str(path) for path in data]}
    return trained(model, Path(run), settings, Material(with_examples(gather(groups)), held, inputs, True), progress)


def _corpus(value: str) -> Corpus:
    """[NAME=]PATH[=WEIGHT]."""
    corpus = weighted_path(value)
    name, equals, path = corpus.path.partition("=")
    if not equals or Path(corpus.path).exists():
        return corpus
    return dataclasses.replace(corpus, path=path, name=name)
