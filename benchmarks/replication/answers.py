"""Questions to the models of the first seed, before and after adaptation: one JSON file a language and method.

Of every language two kinds: public sets of ranked choices, as far as a folder has them, and a cloze of our own, made of
the held-out text: which of four passages goes on with the text, where the other three go on with other documents. There
the right one is that to which the context adds most, `log p(passage | context) - log p(passage)` (Holtzman et al. 2021,
arXiv 2104.08315, section 3): a small model's likelihoods say first of all how common a passage's words are.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from arms import OWN, Arm, Givens, adapted, transferred
from settings import Setting

from saltjax import api
from saltjax.data.corpus import file_source
from saltjax.errors import UserError
from saltjax.evaluate.intervals import interval
from saltjax.evaluate.measure import Subject, measure
from saltjax.evaluate.sets import Sets
from saltjax.evaluate.shelf import Shelf
from saltjax.evaluate.task import Question, Scores, Task, limited
from saltjax.evaluate.tasks import TASKS, make
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.models.load import load_model

METHODS = (OWN, "gaussian", "focus", "salt", "kernel-ridge")
PUBLIC = ("xnli", "pawsx", "xcopa", "m_arc")
CLOZE = "continuation"
QUESTIONS = 200  # the first so many of each public set
CLOZES = 2  # times as many
CONTEXT, ENDING, APART = 240, 120, 800  # characters of the text, of what follows, between two questions of a document


def asked(language: str, setting: Setting) -> list[Arm]:
    return [Arm(language, "bert", method, 0) for method in METHODS if method in (*setting.methods, OWN)]


def questions_of(language: str, held_out: Path, sets: Path | None, most: int) -> list[Task]:
    """The cloze, and the public sets that are in the folder, at most so many questions of each (of the cloze, twice).

    Raises UserError: the held-out documents are too short for the cloze; see `Sets.rows`.
    """
    questions = tuple(cloze(held_out, CLOZES * most))
    if not questions:
        raise UserError(f"{held_out}: fewer than four documents of {CONTEXT + 2 * ENDING} characters; give longer ones")
    found = [Task(f"{CLOZE}:{language}", questions, _each, held_out.name)]
    if sets:
        spoken = [name for name in PUBLIC if language in TASKS[name].LANGUAGES]
        there = [name for name in spoken if any(sets.glob(f"{name}/*{language}[._]*"))]
        found += [limited(make(f"{name}:{language}", Sets(sets)), most) for name in there]
    return found


def cloze(held_out: Path, most: int) -> Iterator[Question]:
    """Round after round, one question a document, as long as four documents or more are long enough."""
    documents, rng, count, start = list(file_source(held_out).documents()), np.random.default_rng(0), 0, 0
    while len(documents := [text for text in documents if len(text) >= start + CONTEXT + 2 * ENDING]) >= 4:
        cuts = [_cut(text[start:]) for text in documents]
        for number, (context, ending) in enumerate(cuts):
            if count == most:
                return
            others = rng.permutation(np.delete(np.arange(len(cuts)), number))[:3]
            gold = int(rng.integers(4))
            endings = [cuts[other][1] for other in others]
            yield Question(str(count), context, gold, (*endings[:gold], ending, *endings[gold:]))
            count += 1
        start += APART


def _cut(text: str) -> tuple[str, str]:
    """(context, what follows), both of whole words: the first word may have lost its beginning."""
    context = text[:CONTEXT].rsplit(" ", 1)[0]
    return context.strip(), text[len(context) :].strip()[:ENDING].rsplit(" ", 1)[0]


def ask(arm: Arm, given: Givens, setting: Setting, work: Path, tasks: Sequence[Task]) -> dict[str, Any]:
    """{when: {task: n, accuracy, interval, guess}}, from WORK/asked if all these tasks are there, else measured now."""
    path = work / "asked" / arm.file
    if not path.exists() or {task.name for task in tasks} - set(_read(path)["answers"]["step 0"]):
        path.parent.mkdir(exist_ok=True)
        model = given.llm if arm.method == OWN else transferred(arm, given, work / "model")[0]
        answers = {"step 0": _answers(model, tasks)}
        run, exported = work / "run", work / "exported"
        adapted(arm, given, setting, work, model)
        api.export(run, exported, overwrite=True)
        answers[f"step {setting.steps}"] = _answers(exported, tasks)
        for folder in (run, exported):
            shutil.rmtree(folder)
        partial = path.with_suffix(".partial")
        record = {"language": arm.language, "method": arm.method, "answers": answers}
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, path)
    return _read(path)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _answers(model: Path, tasks: Sequence[Task]) -> dict[str, dict[str, Any]]:
    """{task: n, accuracy, interval (95 %, over questions), guess}; of public sets acc_norm."""
    loaded = load_model(model)
    subject = Subject(loaded, load_tokenizer(model), loaded.config.max_positions, jnp.dtype("float32"), 8)
    found = {}
    for task in tasks:
        if task.name.startswith(CLOZE):
            alone = replace(task, questions=tuple(replace(one, context="") for one in task.questions))
            added = _loglikelihoods(task, subject) - _loglikelihoods(alone, subject)
            right = (added.argmax(1) == [one.gold for one in task.questions]).astype(float)
        else:
            right = np.array([one["acc_norm"] for one in _scores(task, subject)])
        summed = {"n": len(right), "accuracy": float(right.mean()), "interval": interval(right), "guess": guess(task)}
        found[task.name] = summed
    return found


def _loglikelihoods(task: Task, subject: Subject) -> np.ndarray:
    """[questions, choices]"""
    return np.array([list(one.values()) for one in _scores(task, subject)])


def _each(question: Question, loglikelihoods: Sequence[float]) -> Scores:
    return {str(place): float(value) for place, value in enumerate(loglikelihoods)}


def _scores(task: Task, subject: Subject) -> list[Scores]:
    shelf = Shelf(None, task.questions)
    measure(task, subject, shelf, lambda done, of: None)
    return [shelf.scores[number] for number in range(len(task.questions))]


def guess(task: Task) -> float:
    """What the better of two blind answers gets: any choice at random, or always the same place."""
    random = np.mean([1 / len(question.choices) for question in task.questions])
    same = np.bincount([question.gold for question in task.questions]).max() / len(task.questions)
    return float(max(random, same))
