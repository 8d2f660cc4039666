"""GSM8K (Cobbe et al. 2021, arXiv 2110.14168): 1,319 English word problems of its test set.

Prompt: see `maths`. Metric: acc of the last number. Source: openai/grade-school-math, `test.jsonl`; the examples of few
shots are the first of `train.jsonl`, without the calculator's notes (<<...>>).
"""

import re

from saltjax.errors import UserError
from saltjax.evaluate.formats import json_lines
from saltjax.evaluate.numbers import number
from saltjax.evaluate.sets import Sets, Split
from saltjax.evaluate.task import Question, Task
from saltjax.evaluate.tasks.maths import maths, question

LANGUAGES = ("en",)


def task(sets: Sets, language: str) -> Task:
    def questions(split: str) -> tuple[str, tuple[Question, ...]]:
        place = Split(f"gsm8k/{split}.jsonl", json_lines, hub=("openai/gsm8k", "main", split), tfds=("gsm8k", split))
        rows = sets.rows("gsm8k", [place])
        found = []
        for index, (where, row) in enumerate(rows):
            steps, _, short = row["answer"].rpartition("#### ")
            short = row.get("short_answer") or short
            worked = f"{re.sub('<<.*?>>', '', steps or row['answer']).strip()}\n#### {short}"
            try:
                found.append(question(f"{split}-{index}", language, row["question"], number(short), worked))
            except ValueError:
                raise UserError(f"{where}: the answer {short!r} is no number") from None
        return rows.source, tuple(found)

    source, test = questions("test")
    return maths("gsm8k", language, test, source, examples=lambda: questions("train")[1])
