"""Questions to learn from in English and to be asked in other languages, so that no test question was seen in English.

XNLI's and XQuAD's questions stand in the same order in every language. The first 80 % of the English ones are learned,
the last 20 % of each language are asked, as in the paper's code for XQuAD; the paper learns XNLI from its training set.
"""

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from saltjax.evaluate.answers import prompts
from saltjax.evaluate.sets import Sets
from saltjax.evaluate.task import Question, Task
from saltjax.evaluate.tasks import make
from saltjax.evaluate.trees import pairs
from saltjax.pocket.corpus import LANGUAGES, PARALLEL

SHARE = 0.8
POCKET = Path(__file__).parents[2] / "saltjax/pocket/text"


def parted(task: Task, share: float = SHARE) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """To learn, to ask. Questions about the same passage or premise stay together."""
    cut = round(share * len(task.questions))
    while 0 < cut < len(task.questions) and _about(task.questions[cut]) == _about(task.questions[cut - 1]):
        cut += 1
    return task.questions[:cut], task.questions[cut:]


def _about(question: Question) -> str:
    return question.passage or beginning(question)


def beginning(question: Question) -> str:
    """What the right and the wrong choices begin with."""
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*question.choices, strict=False))
    return "".join(letters[0] for letters in alike)


def example(question: Question) -> dict[str, str]:
    """The question as the task asks it, and the right answer behind it: together the text that the task scores, or
    hopes for. A ranked question without context begins with what its choices have in common."""
    whole = question.context + question.before + (question.answer or question.choices[question.gold])
    if not question.context:
        whole = question.choices[question.gold]
    prompt = (question.context or beginning(question)).rstrip()
    return {"prompt": prompt, "completion": whole[len(prompt) :]}


def write_examples(questions: Sequence[Question], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(example(question), ensure_ascii=False) + "\n" for question in questions)
    path.write_text("".join(lines), encoding="utf-8")


def asked(name: str, language: str, sets: Path) -> Task:
    """The task with its test questions alone."""
    task = make(f"{name}:{language}", Sets(sets))
    return replace(task, questions=parted(task)[1])


def fitting(tasks: dict[str, Task], tokenizer: PreTrainedTokenizerBase, positions: int) -> dict[str, Task]:
    """The tasks, by language, without the questions that are too long for the model in one of the languages.

    Ours: the evaluator would cut off the passage's beginning, where the answer may stand, in one language more often
    than in another. Without them the same questions are asked in all, and the model sees all of each.
    """
    lengths = [_lengths(task, tokenizer, positions) for task in tasks.values()]
    left = [number for number, those in enumerate(zip(*lengths, strict=True)) if max(those) <= positions]
    return {
        language: replace(task, questions=tuple(task.questions[number] for number in left))
        for language, task in tasks.items()
    }


def _lengths(task: Task, tokenizer: PreTrainedTokenizerBase, positions: int) -> list[int]:
    """How many positions each question takes, with the answer: the longest choice, or the room to write one."""
    if task.written:
        room = min(task.max_new, positions // 2)
        contexts = [question.context for question in task.questions]
        return [len(ids) + room for ids in prompts(tokenizer, contexts, sys.maxsize).ids]
    found = pairs(tokenizer, task.questions, sys.maxsize).pairs
    return [max(len(ids) - 1 for ids, _ in choices) for choices in found]  # the last id needs no position


def learned(name: str, sets: Path) -> tuple[Question, ...]:
    return parted(make(f"{name}:en", Sets(sets)))[0]


def write_pocket_sets(folder: Path) -> None:
    """Sets in the layout of XNLI and XQuAD out of the pocket text, and folder/text/LANGUAGE.txt.

    The inferences are made ones, three of each paragraph: two sentences of it, and whether the hypothesis is the first
    of them (entailment), their successor (neutral) or a sentence from elsewhere (here called a contradiction). So
    they can be learned, and words that the premise shares with the hypothesis tell nearly all in any language.
    """
    for language in LANGUAGES:
        paragraphs = list(_paragraphs(language))
        rows = list(_inferences(paragraphs))
        _write(folder / f"xnli/dev-{language}.tsv", "".join("\t".join(row) + "\n" for row in rows))
        _write(folder / f"xquad/xquad.{language}.json", json.dumps(_squad(language), ensure_ascii=False))
        _write(folder / f"text/{language}.txt", "".join(" ".join(one) + "\n" for one in paragraphs))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _paragraphs(language: str) -> Iterator[list[str]]:
    found: dict[str, list[str]] = {}
    for name in PARALLEL:
        for row in _rows(name):
            found.setdefault(row["doc"], []).append(row[language].replace("\t", " "))
    yield from found.values()


def _inferences(paragraphs: list[list[str]]) -> Iterator[tuple[str, str, str]]:
    for number, sentences in enumerate(paragraphs):
        elsewhere = paragraphs[(number + len(paragraphs) // 2) % len(paragraphs)]
        premise = " ".join(sentences[:2])
        yield premise, sentences[0], "entailment"
        yield premise, sentences[2], "neutral"
        yield premise, elsewhere[2], "contradiction"


def _squad(language: str) -> dict:
    passages: dict[str, list[dict]] = {}
    for row in _rows("qa"):
        context, answer = row["context"][language], row["answer"][language]
        answers = [{"text": answer, "answer_start": context.find(answer)}]
        passages.setdefault(context, []).append(
            {"id": row["id"], "question": row["question"][language], "answers": answers}
        )
    paragraphs = [{"context": context, "qas": questions} for context, questions in passages.items()]
    return {"version": "1.1", "data": [{"title": "pocket", "paragraphs": paragraphs}]}


def _rows(name: str) -> Iterator[dict]:
    for line in (POCKET / f"{name}.jsonl").read_text(encoding="utf-8").split("\n"):
        if line:
            yield json.loads(line)
