"""What a task is: questions, and how the model's answers are scored. Each file of `tasks/` makes one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from saltjax.errors import UserError

Scores = dict[str, float]  # metric -> value of one question; the first is the task's main one


@dataclass(frozen=True)
class Question:
    """`context` and then, after `before`, one of `choices` (ranked by likelihood); without choices the model writes.

    `gold` is what the task's score compares with: the right choice's index, the accepted answers, a number.
    """

    id: str
    context: str
    gold: Any
    choices: tuple[str, ...] = ()
    before: str = " "
    answer: str = ""  # as an example shows it, where `gold` does not say which choice
    passage: str = ""  # what it shares with other questions, which are then no examples for it

    @property
    def solved(self) -> str:
        """As an example in front of another question."""
        return (self.context + self.before + (self.answer or self.choices[self.gold])).strip()


@dataclass(frozen=True)
class Task:
    """`score` gets a question and the model's answer: the choices' log-likelihoods (natural), or the text it wrote.

    A text ends before the first of `stops`, at EOS, or after `max_new` tokens. `examples` gives solved questions for
    few shots; without it they are taken from the task's own questions.
    """

    name: str
    questions: tuple[Question, ...]
    score: Callable[[Question, Any], Scores]
    source: str  # where the questions came from
    examples: Callable[[], Sequence[Question]] | None = None
    stops: tuple[str, ...] = ()
    max_new: int = 0

    @property
    def written(self) -> bool:
        return self.max_new > 0


def with_shots(task: Task, shots: int) -> Task:
    """The task with so many solved examples in front of every question, separated by an empty line.

    Examples out of a set of their own are its first ones. Out of the task's own questions they are spread evenly over
    the file, and a question gets none that is itself or shares its passage (ours; the same ones for nearly all
    questions, so that their keys and values are computed once). Raises UserError: too few of them.
    """
    if not shots:
        return task
    pool = list(task.examples() if task.examples else _spread(task.questions, 2 * shots))
    questions = []
    for question in task.questions:
        own = {question.passage} - {""}
        fit = [one for one in pool if one.id != question.id and one.passage not in own]
        if task.examples:
            fit = pool
        if len(fit) < shots:
            raise UserError(f"{task.name}: {shots} shots were asked for, but there are {len(fit)} examples")
        context = "".join(f"{one.solved}\n\n" for one in fit[:shots]) + question.context
        questions.append(replace(question, context=context))
    return replace(task, questions=tuple(questions))


def _spread(questions: Sequence[Question], count: int) -> list[Question]:
    """So many questions of different passages, from all over the file."""
    firsts = list({one.passage or one.id: one for one in reversed(questions)}.values())[::-1]
    count = min(count, len(firsts))
    return [firsts[index * len(firsts) // count] for index in range(count)]


def limited(task: Task, limit: int | None) -> Task:
    """The first `limit` questions."""
    return task if limit is None else replace(task, questions=task.questions[:limit])
