"""The run directory: what a run was asked to do and what it was made from.

config.yaml    inputs (model, text, ..., by name and by hash) and settings, resolved
model/         the source model's config.json, generation_config.json and tokenizer; tensors.json: the dtype that each
               tensor had there, for the way back
checkpoints/   Orbax, one directory a step; or at another place, with a copy of config.yaml: a run whose own directory
               was lost can go on from there
metrics.jsonl  one JSON object a log point;  plots/*.png;  tensorboard/
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import yaml
from etils import epath

from saltjax.errors import UserError
from saltjax.hub.directory import FULL, whole_directory
from saltjax.train.checkpoint import steps
from saltjax.train.config import MAY_CHANGE, AdaptConfig, from_flat, to_flat
from saltjax.train.schedules import decay_start
from saltjax.train.stages import in_steps
from saltjax.train.yamlfile import flatten, load_yaml

COPIED = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".tsv.gz")  # of a model directory: all but the weights
MODEL_SHA256 = "model_sha256"  # the input that tells the model's content (`origin.together`)
INPUTS_MAY_CHANGE = ("valid",)  # held-out text: it is only measured


@dataclasses.dataclass(frozen=True)
class Run:
    """`inputs` is what it was made from, plain YAML values: `model`, `text`, `valid`, fingerprints, ..."""

    path: Path
    config: AdaptConfig
    inputs: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def checkpoints(self) -> epath.Path:
        return epath.Path(self.config.checkpoints or self.path / "checkpoints")

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"


def is_run(path: Path) -> bool:
    return (path / "config.yaml").is_file()


def create(
    path: Path, config: AdaptConfig, inputs: Mapping[str, Any], source: Path, dtypes: Mapping[str, np.dtype]
) -> Run:
    """A new run of the model directory `source`, whose tensors are stored there as `dtypes` {HF name: dtype}.

    Appears whole or not at all. Where the setting `checkpoints` names a place that has some, it goes on from them.
    UserError: `path` exists already; the checkpoints there are those of another run.
    """
    run = Run(path, resolved(config), dict(inputs))
    if clash := set(run.inputs) & {key.partition(".")[0] for key in to_flat(config)}:
        raise ValueError(f"inputs may not be called like a setting: {', '.join(sorted(clash))}")
    if path.exists():
        raise UserError(f"{path}: exists already and is not a run; choose another name")
    if run.config.checkpoints:
        _take_place(run)
    with whole_directory(path) as partial:
        (partial / "model").mkdir()
        for file in sorted(source.iterdir()):
            if file.is_file() and file.name.endswith(COPIED) and not file.name.endswith(".index.json"):
                shutil.copyfile(file, partial / "model" / file.name)
        tensors = {"source": str(source), "dtypes": {name: np.dtype(dtype).name for name, dtype in dtypes.items()}}
        (partial / "model" / "tensors.json").write_text(json.dumps(tensors, indent=1) + "\n", encoding="utf-8")
        _write_config(partial, run)
    return run


def read(path: Path) -> Run:
    """The run at `path`. UserError: there is none, or its config.yaml is damaged."""
    if not is_run(path):
        raise UserError(f"{path}: not a run (no config.yaml); give the directory that `saltjax adapt` wrote")
    return _parsed(path, load_yaml(path / "config.yaml"), f"{path / 'config.yaml'}")


def _parsed(path: Path, content: Any, where: str) -> Run:
    settings = {field.name for field in dataclasses.fields(AdaptConfig)}
    if not isinstance(content, dict) or not settings <= set(content):
        raise UserError(f"{where}: damaged, some settings are missing; start a new run")
    config = from_flat(dict(flatten({key: content[key] for key in settings})))
    return Run(path, config, {key: value for key, value in content.items() if key not in settings})


def resume(path: Path, config: AdaptConfig, inputs: Mapping[str, Any]) -> Run:
    """The run at `path` with these settings, some of which may have changed (`MAY_CHANGE`); config.yaml follows.

    UserError, naming the key and both values, when anything changed that decides what is computed.
    """
    run = read(path)
    if config.compute_dtype == "auto":
        config = dataclasses.replace(config, compute_dtype=run.config.compute_dtype)
    changed = Run(path, config, dict(inputs))
    _check_same(run, changed, str(path))
    _check_decay(run, config)
    if changed != run:
        try:
            _write_config(path, changed)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise UserError(f"{path}: the disk is full; nothing was changed; free some space and resume") from None
    return changed


def _check_same(run: Run, now: Run, where: str) -> None:
    """UserError when something differs that decides what is computed."""
    old = {**run.inputs, **to_flat(run.config)}
    new = {**now.inputs, **to_flat(now.config)}
    for key in sorted({*old, *new}):
        free = key in INPUTS_MAY_CHANGE or key.startswith(MAY_CHANGE)
        unknown = key == MODEL_SHA256 and key not in old  # a run of an earlier version
        if free or unknown or old.get(key) == new.get(key):
            continue
        if key == MODEL_SHA256:
            raise UserError(
                f"{where}: {now.inputs['model']} is another model than this run was made from (weights, config.json or "
                "tokenizer have changed); put it back to resume, or give another run directory"
            )
        raise UserError(
            f"{where}: this run has {key}={old.get(key)}, the command says {key}={new.get(key)}; "
            f"set it back to resume, or give another run directory"
        )


def _take_place(run: Run) -> None:
    """Leave config.yaml with checkpoints that are kept elsewhere. UserError: they are those of another run."""
    note = run.checkpoints / "config.yaml"
    if note.exists():
        there = _parsed(run.path, yaml.safe_load(note.read_text()), str(note))
        _check_same(there, run, f"checkpoints={run.checkpoints}")
        _check_decay(there, run.config)
    elif found := steps(run.checkpoints):
        raise UserError(
            f"checkpoints={run.checkpoints}: there are checkpoints already (steps {', '.join(map(str, found))}), "
            "and no config.yaml says of which run; choose another place"
        )
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    note.write_text(_yaml(run))


def _check_decay(run: Run, config: AdaptConfig) -> None:
    """UserError when steps were done at rates that the new settings would have made others: the decay had begun."""
    old = run.config
    if (
        old.schedule != "wsd"
        or not old.decay_steps
        or (old.steps, old.decay_steps) == (config.steps, config.decay_steps)
    ):
        return
    done = steps(run.checkpoints)
    began = decay_start(old)
    if done and done[-1] > began:
        before = [step for step in done if step <= began]
        mend = f"remove the checkpoints after step {before[-1]} in it" if before else "start a new run"
        raise UserError(
            f"{run.path}: the learning rate has been falling since step {began} (steps={old.steps} "
            f"decay_steps={old.decay_steps}); to prolong the run before that, {mend}"
        )


def stored_dtypes(run: Run) -> dict[str, np.dtype]:
    """{HF tensor name: its dtype in the source model}."""
    found = json.loads((run.model / "tensors.json").read_text(encoding="utf-8"))["dtypes"]
    return {name: jax.numpy.dtype(dtype) for name, dtype in found.items()}


def resolved(config: AdaptConfig) -> AdaptConfig:
    """`config` with compute_dtype=auto decided (float32 on a CPU, bfloat16 on an accelerator), stages in steps, and
    the place of checkpoints absolute."""
    config = dataclasses.replace(config, stages=in_steps(config.stages, config.steps))
    if config.checkpoints and "://" not in config.checkpoints:
        config = dataclasses.replace(config, checkpoints=str(Path(config.checkpoints).expanduser().resolve()))
    if config.compute_dtype != "auto":
        return config
    return dataclasses.replace(config, compute_dtype="float32" if jax.default_backend() == "cpu" else "bfloat16")


def _write_config(path: Path, run: Run) -> None:
    partial = path / "config.yaml.partial"
    partial.write_text(_yaml(run), encoding="utf-8")
    os.replace(partial, path / "config.yaml")


def _yaml(run: Run) -> str:
    return yaml.safe_dump({**run.inputs, **dataclasses.asdict(run.config)}, sort_keys=False, allow_unicode=True)
