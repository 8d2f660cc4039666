"""XCOPA (Ponti et al. 2020, arXiv 2005.00333): which of two sentences is the cause, or the effect, of another?

Prompt: lm-evaluation-harness' `xcopa_LANG`: the premise without its full stop, the language's word for "because" or
"therefore", then a choice in lower case. Metric: acc, acc_norm. Source: cambridgeltl/xcopa, `test.LANG.jsonl`; the
examples of few shots are `val.LANG.jsonl`.
"""

from saltjax.evaluate.choices import accuracies
from saltjax.evaluate.formats import json_lines
from saltjax.evaluate.sets import Sets, Split
from saltjax.evaluate.task import Question, Task
from saltjax.evaluate.tasks.labels import chosen
from saltjax.evaluate.tasks.pawsx import lower_first

WORDS = {  # cause, effect
    "et": ("sest", "seetõttu"),
    "ht": ("poukisa", "donk sa"),
    "id": ("karena", "maka"),
    "it": ("perché", "quindi"),
    "qu": ("imataq", "chaymi"),
    "sw": ("kwa sababu", "kwa hiyo"),
    "ta": ("காரணமாக", "எனவே"),
    "th": ("เพราะ", "ดังนั้น"),
    "tr": ("çünkü", "bu yüzden"),
    "vi": ("bởi vì", "vì vậy"),
    "zh": ("因为", "所以"),
}
LANGUAGES = tuple(WORDS)


def task(sets: Sets, language: str) -> Task:
    name = f"xcopa:{language}"

    def questions(file: str, split: str) -> tuple[str, tuple[Question, ...]]:
        place = Split(f"xcopa/{file}.{language}.jsonl", json_lines, hub=("cambridgeltl/xcopa", language, split))
        rows = sets.rows(name, [place])
        found = []
        for number, (where, row) in enumerate(rows):
            word = WORDS[language][chosen(row["question"], ("cause", "effect"), where)]
            choices = tuple(lower_first(row[choice]) for choice in ("choice1", "choice2"))
            gold = chosen(row["label"], ("0", "1"), where)
            found.append(Question(f"{file}-{number}", f"{row['premise'].strip()[:-1]} {word}", gold, choices))
        return rows.source, tuple(found)

    source, test = questions("test", "test")
    return Task(name, test, accuracies, source, examples=lambda: questions("val", "validation")[1])
