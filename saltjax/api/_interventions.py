"""neurons intervene: what holding a language's neurons does."""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from saltjax.api._activations import VOCABULARY_MULTIPLE, compute_dtype
from saltjax.api._evaluate import end_ids
from saltjax.errors import UserError
from saltjax.evaluate.bits_per_byte import held_out
from saltjax.evaluate.measure import Subject, measure
from saltjax.evaluate.sets import Sets
from saltjax.evaluate.shelf import Shelf
from saltjax.evaluate.task import Task, limited
from saltjax.evaluate.tasks import known as known_task
from saltjax.evaluate.tasks import make
from saltjax.hub.directory import whole_directory
from saltjax.hub.locate import locate
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.models.load import load_model
from saltjax.models.model import Model
from saltjax.neurons.effects import described, drawn
from saltjax.neurons.files import Known, read_neurons
from saltjax.neurons.intervene import beside, perplexities, values
from saltjax.neurons.state import model_fingerprint
from saltjax.neurons.surgery import with_biases
from saltjax.neurons.text import by_language
from saltjax.train.mesh import batch_sharding, make_mesh
from saltjax.train.neuronsets import check_shape
from saltjax.train.sharding import param_shardings

PPL = "ppl"


def neurons_intervene(
    model: str | Path,
    neurons: str | Path,
    tasks: Sequence[str] = (PPL,),
    *,
    text: Sequence[str | Path] = (),
    data: str | Path | None = None,
    limit: int | None = None,
    hold: str = "zero",
    controls: int = 1,
    seed: int = 0,
    seq_len: int | None = None,
    dtype: str | None = None,
    batch_size: int = 16,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Hold the neurons of each language, as `neurons_find` wrote them to the directory `neurons`, for every token at
    `hold`: zero, the mean or a percentile (p5 ... p95) of their activations in that language, or a number. Beside it
    stand as many other neurons in each layer, at their own values, drawn `controls` times from `seed`.

    The task `ppl`, with `text` LANG=FILE (one file a language), measures each language's text while the neurons of each
    language are held. A task of `evaluate`, NAME:LANG with `data` and `limit` as there, is answered while those of LANG
    are held. `out` is a directory for interventions.json and ppl.png.

    The neurons may come from another model of the same shape, such as the one that MODEL was fine-tuned from;
    `found_here` says so.

    Returns model, neurons, found_here, hold, seed, ppl{plain{LANG}, held{LANG{LANG}}, change, control, control_change,
    bits_per_byte{plain, held, control}} (control: the mean of the draws), tasks{TASK{plain, held, controls[...]}}.
    Raises UserError.
    """
    found, languages = read_neurons(Path(neurons)), by_language(text) if text else {}
    made = _made(tasks, found, languages, data, limit, hold)
    if controls < 0 or seed < 0 or batch_size < 1:
        raise UserError(
            f"--controls {controls} and --seed {seed} must be 0 or more, --batch-size {batch_size} at least 1"
        )
    directory = locate(model)
    here = model_fingerprint(directory) == found.model_sha256
    if not here:
        progress(f"{neurons}: these neurons, and the values they are held at, were found in another model")
    tokenizer, mesh = load_tokenizer(directory), make_mesh()
    loaded = load_model(directory, partial(param_shardings, mesh=mesh), pad_vocab_to=VOCABULARY_MULTIPLE)
    positions, compute = loaded.config.max_positions, jnp.dtype(compute_dtype(dtype))
    if seq_len is not None and not 2 <= seq_len <= positions:
        raise UserError(f"--seq-len {seq_len}: from 2 to the {positions} positions of {model}")
    length = seq_len or min(1024, positions)
    check_shape(next(iter(found.neurons.values())), loaded.config.layers, loaded.config.mlp_size, neurons)
    record: dict[str, Any] = {"model": str(model), "neurons": str(neurons), "found_here": here}
    record |= {"hold": hold, "seed": seed}
    with whole_directory(out, overwrite) if out else nullcontext() as folder:
        if PPL in tasks:
            prepared = {name: held_out(paths[0], tokenizer, length) for name, paths in languages.items()}
            matrix = perplexities(loaded, found, prepared, hold, controls, seed, batch_size, compute, progress)
            record["ppl"] = described(matrix, list(found.neurons), list(languages))
            if folder:
                drawn(folder / "ppl.png", record["ppl"])
        rows = batch_sharding(mesh) if mesh.size > 1 else None
        ends = end_ids(directory, tokenizer)
        subject = Subject(loaded, tokenizer, seq_len or positions, compute, batch_size, rows, ends)
        record["tasks"] = {
            task.name: _task(task, known_task(word)[1], subject, found, hold, controls, seed, progress)
            for word, task in made.items()
        }
        if folder:
            (folder / "interventions.json").write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    return record


def _made(
    tasks: Sequence[str],
    found: Known,
    languages: dict[str, list[str]],
    data: str | Path | None,
    limit: int | None,
    hold: str,
) -> dict[str, Task]:
    """The tasks with questions; everything that can be wrong in the arguments is said here."""
    if not tasks or (PPL in tasks) != bool(languages):
        raise UserError("name tasks: ppl with --text LANG=FILE, or tasks of `saltjax evaluate` such as xnli:de")
    if several := [name for name, paths in languages.items() if len(paths) > 1]:
        raise UserError(f"--text: one file a language is measured, but {several[0]} has {len(languages[several[0]])}")
    if limit is not None and limit < 1:
        raise UserError(f"--limit {limit} must be at least 1")
    values(found, next(iter(found.neurons)), hold)
    words = [word for word in dict.fromkeys(tasks) if word != PPL]
    if odd := [word for word in words if known_task(word)[1] not in found.neurons]:
        raise UserError(f"{odd[0]}: there are neurons of {', '.join(found.neurons)} only")
    sets = Sets(Path(data).expanduser() if data else None)
    return {word: limited(make(word, sets), limit) for word in words}


def _task(
    task: Task,
    language: str,
    subject: Subject,
    found: Known,
    hold: str,
    controls: int,
    seed: int,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    model = with_biases(subject.model)

    def measured(model: Model) -> dict[str, Any]:
        result = measure(task, subject._replace(model=model), Shelf(None, task.questions), lambda done, of: None)
        progress(f"{task.name}: {result['n']} questions")
        return result

    plain = measured(model)
    changed = beside(model, found, language, hold, controls, seed, measured)
    return {"plain": plain, "held": changed.held, "controls": changed.controls}
