"""A run on text or on examples: data, model and loop joined. `adapt` and `finetune` say which."""

import dataclasses
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from saltjax.data.feed import Gathered, account, described, feed
from saltjax.data.mixture import Corpus
from saltjax.data.pipeline import batches
from saltjax.data.template import Template
from saltjax.data.tokens import Progress
from saltjax.errors import UserError
from saltjax.evaluate.bits_per_byte import HeldOut, held_out, score
from saltjax.evaluate.heldexamples import held_examples, nats
from saltjax.hub.config import read_config as read_model_config
from saltjax.hub.locate import locate
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.models.decoder import Params, abstract_model
from saltjax.models.families import family_of
from saltjax.models.load import load_model
from saltjax.models.model import Model
from saltjax.train.best import MEAN, NONE
from saltjax.train.checkpoint import steps
from saltjax.train.config import AdaptConfig
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
    here = is_run(run)
    directory = run / "model" if here else locate(model)
    hf_config, tokenizer = read_model_config(directory), load_tokenizer(directory)
    decoder = family_of(hf_config).decoder_config(hf_config)
    if settings.seq_len > decoder.max_positions:
        raise UserError(f"seq_len={settings.seq_len} is more than the {decoder.max_positions} positions of {model}")
    padded = decoder.padded(VOCABULARY_MULTIPLE)
    Phases(with_adapters(abstract_model(padded)[1], settings), settings)  # says what is wrong before there is a run
    length = settings.seq_len
    template = Template(tokenizer, settings.template) if material.examples else None
    held = {
        name: held_examples(path, template, length) if template else held_out(path, tokenizer, length)
        for name, path in material.valid.items()
    }
    scores_of = (*held, *(name + SUFFIX for name in held if settings.ema))
    if settings.keep_best not in (NONE, MEAN, *scores_of):
        raise UserError(
            f"keep_best={settings.keep_best} is no held-out text; "
            f"give --valid {settings.keep_best}=FILE too, or keep_best=mean"
        )
    fed = feed(material.corpora, tokenizer, settings.seq_len, Path(settings.cache).expanduser(), progress, template)
    largest = max(one.windows.store.counts.largest_id for one in fed)
    if largest >= decoder.vocab_size:
        raise UserError(
            f"{directory}: the tokenizer gives id {largest}, but the model has "
            f"{decoder.vocab_size} embedding rows; they do not belong together"
        )
    for line in described(fed) if primary() else ():
        print(line, file=sys.stderr)
    settings = resolved(_with_steps(settings, sum(len(one.windows) for one in fed)))
    known = agreed(here)
    resumes = agreed(steps(Run(run, settings).checkpoints) if primary() else None)
    inputs = {
        "model": str(model),
        **material.inputs,
        "text_sha256": [one.windows.store.content for one in fed],
        "valid": {name: str(path) for name, path in material.valid.items()},
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

    if template and template.text != tokenizer.chat_template and primary():  # so that the exported model is asked in it
        (run / "model" / "chat_template.jinja").write_text(template.text, encoding="utf-8")

    dtype = jnp.dtype(settings.compute_dtype)
    rows = settings.batch_size

    def scores(params: Params) -> dict[str, float]:
        return {
            name: score(loaded.config, loaded.graphdef, params, text, rows, dtype).bits_per_byte
            for name, text in held.items()
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

    done = train(loaded, given, opened, scores if held else None, mesh, seen, decode)
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
