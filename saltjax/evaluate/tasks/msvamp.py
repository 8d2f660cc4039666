"""MSVAMP (Chen et al. 2024, arXiv 2310.20246): 1,000 short problems, machine-translated and checked.

Prompt: see `maths`. Metric: acc of the last number. Source: microsoft/MathOctopus, `test_LANGUAGE.json` (JSON lines).
"""

from saltjax.errors import UserError
from saltjax.evaluate.formats import json_lines
from saltjax.evaluate.numbers import number
from saltjax.evaluate.sets import Sets, Split
from saltjax.evaluate.task import Task
from saltjax.evaluate.tasks.maths import maths, question

NAMES = {
    "bn": "Bengali", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "ja": "Japanese",
    "ru": "Russian", "sw": "Swahili", "th": "Thai", "zh": "Chinese",
}  # fmt: skip
LANGUAGES = tuple(NAMES)


def task(sets: Sets, language: str) -> Task:
    name = f"msvamp:{language}"
    rows = sets.rows(name, [Split(f"msvamp/test_{NAMES[language]}.json", json_lines)])
    found = []
    for index, (where, row) in enumerate(rows):
        try:
            found.append(question(str(index), language, row["m_query"], number(str(row["response"]))))
        except ValueError:
            raise UserError(f"{where}: the answer {row['response']!r} is no number") from None
    return maths(name, language, tuple(found), rows.source)
