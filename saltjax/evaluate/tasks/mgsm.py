"""MGSM (Shi et al. 2022, arXiv 2210.03057): 250 problems of GSM8K's test set, translated by people.

Prompt: see `maths`. Metric: acc of the last number. Source: google-research/url-nlp, `mgsm_LANG.tsv`.
"""

from saltjax.errors import UserError
from saltjax.evaluate.formats import tab_separated
from saltjax.evaluate.numbers import number
from saltjax.evaluate.sets import Sets, Split
from saltjax.evaluate.task import Task
from saltjax.evaluate.tasks.maths import WORDS, maths, question

LANGUAGES = tuple(WORDS)


def task(sets: Sets, language: str) -> Task:
    name = f"mgsm:{language}"
    read = tab_separated("question", "answer_number")
    rows = sets.rows(name, [Split(f"mgsm/mgsm_{language}.tsv", read, hub=("juletxara/mgsm", language, "test"))])
    found = []
    for index, (where, row) in enumerate(rows):
        try:
            found.append(question(str(index), language, row["question"], number(str(row["answer_number"]))))
        except ValueError:
            raise UserError(f"{where}: the answer {row['answer_number']!r} is no number") from None
    return maths(name, language, tuple(found), rows.source)
