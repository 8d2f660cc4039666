"""MLQA (Lewis et al. 2020, arXiv 1910.07475): `mlqa:de-en` asks in English about German passages.

Prompt: see `reading`, in the passage's language. Metric: MLQA's EM and F1, in the passage's language, which is the
answer's. Source: facebookresearch/MLQA, `{test,dev}-context-C-question-Q.json`; test where it is there.
"""

from saltjax.evaluate.extractive import score_mlqa
from saltjax.evaluate.formats import squad_json
from saltjax.evaluate.sets import Sets, Split
from saltjax.evaluate.task import Task
from saltjax.evaluate.tasks.reading import reading

EACH = ("ar", "de", "en", "es", "hi", "vi", "zh")
LANGUAGES = tuple(f"{context}-{question}" for context in EACH for question in EACH)


def task(sets: Sets, language: str) -> Task:
    context, question = language.split("-")
    splits = [
        Split(
            f"mlqa/{file}-context-{context}-question-{question}.json",
            squad_json,
            hub=("facebook/mlqa", f"mlqa.{context}.{question}", split),
            tfds=(f"mlqa/{context}", split) if context == question else None,
        )
        for file, split in (("test", "test"), ("dev", "validation"))
    ]
    name = f"mlqa:{language}"
    return reading(name, context, sets.rows(name, splits), score_mlqa(context))
