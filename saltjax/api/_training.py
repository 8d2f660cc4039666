"""A run on text or on examples: data, model and loop joined. `adapt` and `finetune` say which."""

import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from transformers import PreTrainedTokenizerBase

from saltjax.api._beginning import Start, begin, opened
from saltjax.data.feed import Fed, Gathered, account, described, feed
from saltjax.data.mixture import Corpus
from saltjax.data.pipeline import Seen, batches
from saltjax.data.template import Template
from saltjax.data.tokens import Progress
from saltjax.errors import UserError
from saltjax.evaluate.bits_per_byte import HeldOut, held_out, score
from saltjax.evaluate.heldexamples import held_examples, nats
from saltjax.models.decoder import Params
from saltjax.models.model import Model
from saltjax.train.best import MEAN, NONE
from saltjax.train.config import AdaptConfig
from saltjax.train.elements import digests
from saltjax.train.ema import SUFFIX
from saltjax.train.loop import train
from saltjax.train.mesh import check_batch, make_mesh
from saltjax.train.meter import device_memory
from saltjax.train.neuronsets import origins
from saltjax.train.processes import batch_part, primary
from saltjax.train.run import resolved
from saltjax.train.wandblog import check_installed


class Material(NamedTuple):
    """What a run learns from and is measured on: examples, whose answers count, or text.

    `valid`: {name: file}; `inputs`: what of this the run's config.yaml keeps, for a resumed run to be compared with.
    """

    corpora: list[Gathered]
    valid: dict[str, Path]
    inputs: dict[str, Any]
    examples: bool = False


def trained(
    model: str | Path,
    run: Path,
    settings: AdaptConfig,
    material: Material,
    progress: Callable[[str, Progress], None] | None = None,
) -> dict[str, Any]:
    """Train MODEL in RUN, or resume it. The record of `adapt` and `finetune`. Raises UserError."""
    check_installed(settings.wandb)
    mesh = make_mesh(settings.mesh)
    check_batch(mesh, settings.batch_size, settings.accumulate)
    start = begin(model, run, settings)
    template = Template(start.tokenizer, settings.template) if material.examples else None
    held = _held(material, start.tokenizer, template, settings)
    fed = _fed(material, start, template, settings, progress)
    settings = resolved(_with_steps(settings, sum(len(one.windows) for one in fed)))
    directory, loaded = opened(run, start, settings, _inputs(material, start, fed, settings), mesh)
    if template and template.text != start.tokenizer.chat_template and primary():  # the exported model is asked in it
        (run / "model" / "chat_template.jinja").write_text(template.text, encoding="utf-8")
    given = batches(
        [one.windows for one in fed],
        [one.share for one in fed],
        settings.batch_size,
        settings.seed,
        *batch_part(mesh, settings.batch_size),
    )

    def counted(step: int) -> dict[str, Any]:
        return _counted(fed, given.seen(step))

    def decode(ids: np.ndarray) -> str:
        return str(start.tokenizer.decode(ids))

    scores = _scores(loaded, held, settings) if held else None
    done = train(loaded, given, directory, scores, mesh, counted, decode)
    return {
        "run": str(run),
        "steps": done.step,
        "loss": done.loss,
        "valid": done.valid,
        **({"valid_loss": _nats(done.valid, held)} if template else {}),
        **done.speed,
        **device_memory(),
        "checkpoint": str(done.checkpoint) if done.checkpoint else None,
        "data": account(fed, given.seen(done.step)),
        "interrupted": done.interrupted,
    }


def _held(
    material: Material, tokenizer: PreTrainedTokenizerBase, template: Template | None, settings: AdaptConfig
) -> dict[str, HeldOut]:
    """What the run is measured on, by name."""
    length = settings.seq_len
    held = {
        name: held_examples(path, template, length) if template else held_out(path, tokenizer, length)
        for name, path in material.valid.items()
    }
    scored = (*held, *(name + SUFFIX for name in held if settings.ema))
    if settings.keep_best not in (NONE, MEAN, *scored):
        raise UserError(
            f"keep_best={settings.keep_best} is no held-out text; "
            f"give --valid {settings.keep_best}=FILE too, or keep_best=mean"
        )
    return held


def _fed(
    material: Material,
    start: Start,
    template: Template | None,
    settings: AdaptConfig,
    progress: Callable[[str, Progress], None] | None,
) -> list[Fed]:
    """The corpora as windows of tokens; stderr has a line of each."""
    cache = Path(settings.cache).expanduser()
    fed = feed(material.corpora, start.tokenizer, settings.seq_len, cache, progress, template)
    largest = max(one.windows.store.counts.largest_id for one in fed)
    if largest >= start.decoder.vocab_size:
        raise UserError(
            f"{start.directory}: the tokenizer gives id {largest}, but the model has "
            f"{start.decoder.vocab_size} embedding rows; they do not belong together"
        )
    for line in described(fed) if primary() else ():
        print(line, file=sys.stderr)
    return fed


def _inputs(material: Material, start: Start, fed: Sequence[Fed], settings: AdaptConfig) -> dict[str, Any]:
    """What the run is made from, apart from settings: a resumed one must have the same."""
    inputs = {
        "model": str(start.model),
        **material.inputs,
        "text_sha256": [one.windows.store.content for one in fed],
        "valid": {name: str(path) for name, path in material.valid.items()},
    }
    if masks := digests(settings.specs):
        inputs["elements_sha256"] = masks
    if neurons := origins(settings.specs):
        inputs["neurons"] = neurons
    return inputs


def _scores(loaded: Model, held: dict[str, HeldOut], settings: AdaptConfig) -> Callable[[Params], dict[str, float]]:
    dtype = jnp.dtype(settings.compute_dtype)

    def scores(params: Params) -> dict[str, float]:
        return {
            name: score(loaded.config, loaded.graphdef, params, text, settings.batch_size, dtype).bits_per_byte
            for name, text in held.items()
        }

    return scores


def _counted(fed: Sequence[Fed], seen: Sequence[Seen]) -> dict[str, Any]:
    parts = dict(zip([one.name for one in fed], seen, strict=True))
    return {
        "tokens_seen": {name: part.tokens for name, part in parts.items()},
        "epochs": {name: round(part.epochs, 4) for name, part in parts.items()},
    }


def _with_steps(settings: AdaptConfig, windows: int) -> AdaptConfig:
    """`epochs` of so many windows, as steps."""
    if not settings.epochs:
        return settings
    count = math.ceil(settings.epochs * windows / settings.batch_size)
    if primary():
        note = f"epochs={settings.epochs:g}: {count:,} steps of {settings.batch_size} of {windows:,} windows"
        print(note, file=sys.stderr)
    return dataclasses.replace(settings, epochs=0.0, steps=count)


def _nats(valid: dict[str, float], held: dict[str, HeldOut]) -> dict[str, float]:
    return {name: nats(value, held[name.removesuffix(SUFFIX)]) for name, value in valid.items()}


def named(value: str) -> tuple[str, Path]:
    """NAME=PATH, or PATH named as a corpus is: `de.valid.txt.xz` is `de.valid`."""
    name, equals, path = value.partition("=")
    if equals and not Path(value).exists():
        return name, Path(path)
    return Corpus(value).title, Path(value)
