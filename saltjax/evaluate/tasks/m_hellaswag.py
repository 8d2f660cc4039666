"""HellaSwag in other languages (Zellers et al. 2019, arXiv 1905.07830; Okapi): how does the text go on?

Prompt: lm-evaluation-harness' `hellaswag_LANG`: the activity, a colon, the context. Metric: acc, acc_norm. Source:
Okapi's `LANG_validation.json`.
"""

from saltjax.evaluate.choices import accuracies
from saltjax.evaluate.formats import json_list
from saltjax.evaluate.sets import Sets, Split
from saltjax.evaluate.task import Question, Task
from saltjax.evaluate.tasks.labels import chosen
from saltjax.evaluate.tasks.okapi import LANGUAGES as LANGUAGES
from saltjax.evaluate.tasks.okapi import cleaned


def task(sets: Sets, language: str) -> Task:
    name = f"m_hellaswag:{language}"
    hub = ("alexandrainst/m_hellaswag", language, "val")
    rows = sets.rows(name, [Split(f"m_hellaswag/{language}_validation.json", json_list, hub=hub)])
    questions = []
    for number, (where, row) in enumerate(rows):
        context = cleaned(f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}")
        choices = tuple(cleaned(ending) for ending in row["endings"])
        gold = chosen(row["label"], tuple(map(str, range(len(choices)))), where)
        questions.append(Question(str(row.get("ind", number)), context, gold, choices))
    return Task(name, tuple(questions), accuracies, rows.source)
