"""What describes the tokens of a transfer or an inspection, and where it is computed."""

import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console
from rich.progress import Progress

from saltjax.data.corpus import TextFile
from saltjax.errors import UserError
from saltjax.transfer.problem import Problem, Space
from saltjax.transfer.surgery import Patient
from saltjax.vocab.auxiliary import Auxiliary, load_auxiliary, train_auxiliary
from saltjax.vocab.geometry import geometry, warning
from saltjax.vocab.vocabulary import normalizer_of

Paths = Sequence[str | Path]


def auxiliary_of(aux: str | Path | None, aux_text: Paths, donor: Patient, seed: int) -> Auxiliary:
    if aux and aux_text:
        raise UserError("--aux and --aux-text are two ways to the same thing: give one of them")
    if aux:
        return load_auxiliary(aux)
    if not aux_text:
        raise UserError(
            "SALT seeks neighbours in vectors of the target language: give --aux FILE.bin|FILE.vec, "
            "--aux-text FILE..., or take the PLM's own space with --neighbours plm"
        )
    texts = [TextFile(Path(path)) for path in aux_text]
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("training auxiliary vectors", total=1.0)
        return train_auxiliary(
            texts, seed, normalizer_of(donor.tokenizer), lambda done: progress.update(task, completed=done)
        )


def warnings_of(problem: Problem, space: Space, auxiliary: Auxiliary | None) -> list[str]:
    flat = warning(geometry(problem.aux_anchors)) if space == "aux" and problem.aux_anchors is not None else None
    return [*problem.warnings, *(auxiliary.notes if auxiliary else []), *([flat] if flat else [])]


def accelerators() -> Mesh | None:
    """All accelerators of this machine, if there are several. (A CPU's cores work together on one device.)"""
    devices = jax.local_devices()
    return Mesh(np.array(devices), ("tokens",)) if len(devices) > 1 and devices[0].platform != "cpu" else None
