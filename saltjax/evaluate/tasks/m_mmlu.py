"""MMLU in other languages (Hendrycks et al. 2021, arXiv 2009.03300; Okapi): exams of 57 subjects, choices A to D.

Prompt: lm-evaluation-harness' `m_mmlu_LANG`: the question, the four options, `Answer:`; the choices are the letters.
Metric: acc, acc_norm. Source: Okapi's `LANG_test.json`, or `LANG_val.json` where that is not there; the examples of
few shots are the first of `LANG_dev.json` (as in lm-evaluation-harness, of whatever subjects). English: the original
questions, as `mmlu_en/mmlu_en.{test,val,dev}.jsonl`.
"""

from collections.abc import Sequence

from saltjax.evaluate.choices import accuracies
from saltjax.evaluate.formats import Row, json_lines, json_list
from saltjax.evaluate.sets import Sets, Split
from saltjax.evaluate.task import Question, Task
from saltjax.evaluate.tasks.labels import chosen
from saltjax.evaluate.tasks.okapi import LANGUAGES as LANGUAGES
from saltjax.evaluate.tasks.okapi import LETTERS


def task(sets: Sets, language: str) -> Task:
    name = f"m_mmlu:{language}"

    def questions(splits: Sequence[tuple[str, str]]) -> tuple[str, tuple[Question, ...]]:
        rows = sets.rows(name, [_place(language, *split) for split in splits])
        found = []
        for where, row in rows:
            row = _as_okapi(row)
            lines = [row["instruction"].strip(), *(f"{letter}. {row[_option(letter)]}" for letter in LETTERS[:4])]
            gold = chosen(row["answer"], LETTERS[:4], where)
            found.append(Question(str(row["id"]), "\n".join([*lines, "Answer:"]), gold, LETTERS[:4]))
        return rows.source, tuple(found)

    source, test = questions((("test", "test"), ("val", "val")))
    return Task(name, test, accuracies, source, examples=lambda: questions([("dev", "train")])[1])


def _place(language: str, file: str, split: str) -> Split:
    hub = ("alexandrainst/m_mmlu", language, split)
    if language == "en":
        return Split(f"mmlu_en/mmlu_en.{file}.jsonl", json_lines, hub=hub)
    return Split(f"m_mmlu/{language}_{file}.json", json_list, hub=hub)


def _as_okapi(row: Row) -> Row:
    if "choices" not in row:
        return row
    options = {_option(letter): choice for letter, choice in zip(LETTERS, row["choices"], strict=False)}
    return {**row, **options, "instruction": row["question"]}


def _option(letter: str) -> str:
    return f"option_{letter.lower()}"
