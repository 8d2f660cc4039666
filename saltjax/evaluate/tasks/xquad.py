"""XQuAD (Artetxe et al. 2020, arXiv 1910.11856): 1,190 questions of SQuAD v1.1, translated by people.

Prompt: see `reading`. Metric: SQuAD v1.1's EM and F1. Source: google-deepmind/xquad, `xquad.LANG.json`.
"""

from saltjax.evaluate.extractive import score_squad
from saltjax.evaluate.formats import squad_json
from saltjax.evaluate.sets import Sets, Split
from saltjax.evaluate.task import Task
from saltjax.evaluate.tasks.reading import reading

LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")


def task(sets: Sets, language: str) -> Task:
    split = Split(
        f"xquad/xquad.{language}.json",
        squad_json,
        hub=("google/xquad", f"xquad.{language}", "validation"),
        tfds=(f"xquad/{language}", "test"),
    )
    name = f"xquad:{language}"
    return reading(name, language, sets.rows(name, [split]), score_squad)
