"""TyDiQA-GoldP (Clark et al. 2020, arXiv 2003.05002): questions by speakers of the language, gold passage given.

Prompt: see `reading`. Metric: SQuAD v1.1's EM and F1, as the gold passage task prescribes. Source:
google-research-datasets/tydiqa v1.1, one file a language, `tydiqa.goldp.LANG.dev.json`; on the hub (and in TFDS) all
languages are one set, whose ids begin with the language's name.
"""

from saltjax.evaluate.extractive import score_squad
from saltjax.evaluate.formats import squad_json
from saltjax.evaluate.sets import Rows, Sets, Split
from saltjax.evaluate.task import Task
from saltjax.evaluate.tasks.reading import reading

NAMES = {
    "ar": "arabic", "bn": "bengali", "en": "english", "fi": "finnish", "id": "indonesian", "ko": "korean",
    "ru": "russian", "sw": "swahili", "te": "telugu",
}  # fmt: skip
LANGUAGES = tuple(NAMES)


def task(sets: Sets, language: str) -> Task:
    split = Split(
        f"tydiqa/tydiqa.goldp.{language}.dev.json",
        squad_json,
        hub=("google-research-datasets/tydiqa", "secondary_task", "validation"),
        tfds=("tydi_qa/goldp", "validation"),
    )
    name = f"tydiqa:{language}"
    rows = sets.rows(name, [split])
    own = [row for row in rows.rows if str(row.get("id")).startswith(f"{NAMES[language]}-")]
    return reading(name, language, Rows(own or rows.rows, rows.source), score_squad)
