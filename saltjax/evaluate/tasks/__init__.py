"""The tasks by name. A task is one file: its prompt, its metric, where it comes from. docs/evaluation.md lists them."""

import difflib
from types import ModuleType

from saltjax.errors import UserError
from saltjax.evaluate.sets import Sets
from saltjax.evaluate.task import Task
from saltjax.evaluate.tasks import (
    gsm8k,
    m_arc,
    m_hellaswag,
    m_mmlu,
    m_truthfulqa,
    mgsm,
    mlqa,
    msvamp,
    pawsx,
    tydiqa,
    xcopa,
    xnli,
    xquad,
)

MODULES = (
    xquad, mlqa, tydiqa, xnli, pawsx, xcopa, m_arc, m_hellaswag, m_mmlu, m_truthfulqa, mgsm, msvamp, gsm8k,
)  # fmt: skip
TASKS: dict[str, ModuleType] = {module.__name__.rpartition(".")[2]: module for module in MODULES}


def known(word: str) -> tuple[ModuleType, str]:
    """(module, language) of `NAME` or `NAME:LANG`. A task of one language needs none.

    Raises UserError: no such task, with the nearest names; no such language, or none where it is needed.
    """
    name, _, language = word.partition(":")
    if name not in TASKS:
        near = difflib.get_close_matches(name, [*TASKS, "bpb"], n=3, cutoff=0.5)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise UserError(f"task {name!r} is not known{hint}; there are bpb, {', '.join(TASKS)}")
    languages = TASKS[name].LANGUAGES
    if not language and len(languages) == 1:
        return TASKS[name], languages[0]
    if language not in languages:
        what = f"has no language {language!r}" if language else "needs a language"
        near = difflib.get_close_matches(language, languages, n=1, cutoff=0.0)
        few = ", ".join(languages[:40]) + (" and more" if len(languages) > 40 else "")
        raise UserError(f"{name} {what}, as in {name}:{near[0]}; there are {few}")
    return TASKS[name], language


def make(word: str, sets: Sets) -> Task:
    """The task of a word such as `xquad:de`, its questions read. Raises UserError: see `known`, `Sets.rows`."""
    module, language = known(word)
    return module.task(sets, language)
