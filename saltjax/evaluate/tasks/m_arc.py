"""ARC-Challenge in other languages (Clark et al. 2018, arXiv 1803.05457; Okapi): school science, four choices or so.

Prompt: lm-evaluation-harness' `arc_LANG`: `Question: ...`, `Answer:`, English words in all languages. Metric: acc,
acc_norm. Source: Okapi's `LANG_test.json`; the examples of few shots are `LANG_validation.json`.
"""

from saltjax.evaluate.choices import accuracies
from saltjax.evaluate.formats import json_list
from saltjax.evaluate.sets import Sets, Split
from saltjax.evaluate.task import Question, Task
from saltjax.evaluate.tasks.labels import chosen
from saltjax.evaluate.tasks.okapi import LANGUAGES as LANGUAGES
from saltjax.evaluate.tasks.okapi import LETTERS, cleaned, options


def task(sets: Sets, language: str) -> Task:
    name = f"m_arc:{language}"

    def questions(split: str) -> tuple[str, tuple[Question, ...]]:
        place = Split(f"m_arc/{language}_{split}.json", json_list, hub=("alexandrainst/m_arc", language, split))
        rows = sets.rows(name, [place])
        found = []
        for where, row in rows:
            choices = tuple(cleaned(option) for option in options(row))
            gold = chosen(row["answer"], LETTERS[: len(choices)], where)
            found.append(Question(row["id"], f"Question: {cleaned(row['instruction'])}\nAnswer:", gold, choices))
        return rows.source, tuple(found)

    source, test = questions("test")
    return Task(name, test, accuracies, source, examples=lambda: questions("validation")[1])
