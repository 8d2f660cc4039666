"""The test questions asked of a model, as it is and with neurons held; no answer is computed twice."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp

from saltjax.api._activations import VOCABULARY_MULTIPLE, compute_dtype
from saltjax.api._evaluate import end_ids
from saltjax.evaluate.measure import Subject, measure
from saltjax.evaluate.shelf import Shelf
from saltjax.evaluate.task import Task
from saltjax.hub.locate import locate
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.models.load import load_model
from saltjax.models.model import Model
from saltjax.neurons.files import Known
from saltjax.neurons.intervene import values
from saltjax.neurons.surgery import held, with_biases
from saltjax.train.mesh import batch_sharding, make_mesh
from saltjax.train.neuronsets import control
from saltjax.train.sharding import param_shardings


class Asked(NamedTuple):
    """`hold` is what the language's neurons are held at ("": nothing is held), or as many random ones."""

    language: str
    hold: str
    random: bool

    def file(self, model: str) -> str:
        return ".".join(filter(None, (model, self.language, self.hold, "random" if self.random else ""))) + ".jsonl"


def all_asked(languages: Sequence[str], holds: Sequence[str]) -> Iterator[Asked]:
    for language in languages:
        yield Asked(language, "", False)
        for hold in holds if language != "en" else ():
            yield Asked(language, hold, False)
            yield Asked(language, hold, True)


def ask(
    directory: str | Path, name: str, todo: Sequence[Asked], tasks: dict[str, Task], known: Known, out: Path, rows: int
) -> None:
    """Answers go to out/`Asked.file(name)`. Neurons are held at what was measured in the model they were found in."""
    left = [one for one in todo if len(_shelf(one, name, tasks, out).scores) < len(tasks[one.language].questions)]
    if not left:
        return
    place, mesh = locate(directory), make_mesh()
    tokenizer = load_tokenizer(place)
    plain = load_model(place, partial(param_shardings, mesh=mesh), pad_vocab_to=VOCABULARY_MULTIPLE)
    model = with_biases(plain)
    sharding = batch_sharding(mesh) if mesh.size > 1 else None
    dtype = jnp.dtype(compute_dtype(None))
    for one in left:
        subject = Subject(
            _changed(model, known, one), tokenizer, model.config.max_positions, dtype, rows, sharding,
            end_ids(place, tokenizer),
        )  # fmt: skip
        measure(tasks[one.language], subject, _shelf(one, name, tasks, out), lambda done, of: None)


def _changed(model: Model, known: Known, one: Asked) -> Model:
    if not one.hold:
        return model
    neurons = known.neurons[one.language]
    chosen = control(neurons, 0) if one.random else neurons
    return held(model, chosen, values(known, one.language, one.hold), known.point)


def _shelf(one: Asked, name: str, tasks: dict[str, Task], out: Path) -> Shelf:
    out.mkdir(parents=True, exist_ok=True)
    return Shelf(out / one.file(name), tasks[one.language].questions)
