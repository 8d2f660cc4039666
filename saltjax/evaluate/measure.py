"""One task: what is not answered yet is answered and put on the shelf, then everything is summed up."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import NamedSharding
from transformers import PreTrainedTokenizerBase

from saltjax.errors import UserError
from saltjax.evaluate.answers import prompts, written
from saltjax.evaluate.intervals import interval
from saltjax.evaluate.loglikelihood import loglikelihoods
from saltjax.evaluate.shelf import Shelf
from saltjax.evaluate.task import Task
from saltjax.evaluate.trees import pairs
from saltjax.models.model import Model

WRITTEN = 4  # rows of generation for each of ranked choices: one token a row at a time is little work


class Subject(NamedTuple):
    """What is measured, and how: `longest` positions, the computation's dtype, rows of a batch and where they lie."""

    model: Model
    tokenizer: PreTrainedTokenizerBase
    longest: int
    dtype: Any
    batch_size: int
    sharding: NamedSharding | None = None
    eos_ids: Sequence[int] = ()


def measure(task: Task, subject: Subject, shelf: Shelf, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """METRIC..., n, interval (of the first metric), intervals{METRIC}, source, unknown_tokens, truncated.

    Means over questions, 0 to 1, with 95 % bootstrap intervals. `unknown_tokens` and `truncated` count prompts that
    the model did not see whole. Raises UserError: see `trees.pairs`; a tokenizer with more ids than the model has rows.
    """
    total = len(task.questions)
    answers, unknown, truncated = (_written if task.written else _ranked)(task, subject, shelf)
    progress(len(shelf.scores), total)
    for number, answer in answers:
        shelf.add(number, answer, task.score(task.questions[number], answer))
        progress(len(shelf.scores), total)
    scores = [shelf.scores[number] for number in range(total)]
    columns = {metric: np.array([one[metric] for one in scores]) for metric in scores[0]}
    intervals = {metric: interval(values) for metric, values in columns.items()}
    return {
        **{metric: float(values.mean()) for metric, values in columns.items()},
        "n": total,
        "interval": next(iter(intervals.values())),
        "intervals": intervals,
        "source": task.source,
        "unknown_tokens": unknown,
        "truncated": truncated,
    }


Answers = tuple[Iterator[tuple[int, Any]], int, int]


def _ranked(task: Task, subject: Subject, shelf: Shelf) -> Answers:
    model, tokenizer, longest, dtype, batch_size, sharding, _ = subject
    found = pairs(tokenizer, task.questions, longest)
    left = [number for number in range(len(task.questions)) if number not in shelf.scores]
    chosen = [found.pairs[number] for number in left]
    _check_ids((ids for question in chosen for ids, _ in question), model)
    done = loglikelihoods(model, chosen, dtype=dtype, batch_size=batch_size, sharding=sharding) if left else iter(())
    return ((left[i], values) for i, values in done), found.unknown, found.truncated


def _written(task: Task, subject: Subject, shelf: Shelf) -> Answers:
    model, tokenizer, longest, dtype, batch_size, sharding, eos_ids = subject
    max_new = min(task.max_new, longest // 2)
    found = prompts(tokenizer, [question.context for question in task.questions], longest - max_new)
    left = [number for number in range(len(task.questions)) if number not in shelf.scores]
    chosen = [found.ids[number] for number in left]
    _check_ids(iter(chosen), model)
    texts = written(
        model, tokenizer, chosen, task.stops, max_new,
        eos_ids=eos_ids, dtype=dtype, batch_size=WRITTEN * batch_size, sharding=sharding,
    )  # fmt: skip
    return ((left[i], text) for i, text in texts), found.unknown, found.truncated


def _check_ids(sequences: Iterator[list[int]], model: Model) -> None:
    largest = max((max(ids) for ids in sequences), default=-1)
    if largest >= model.config.vocab_size:
        raise UserError(
            f"the tokenizer gives id {largest}, but the model has {model.config.vocab_size} embedding rows; "
            "they do not belong together"
        )
