"""A study's scores as curves over budgets, and what is averaged over which languages."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from saltjax.study.design import Study
from saltjax.study.grid import NONE, Run, runs

COLUMNS = "run task model length setting group budget seed language trained score".split()

Results = Mapping[str, Mapping[str, Any]]  # run's name -> its record


class Curve(NamedTuple):
    """One task's scores along the budgets, all else equal, of the seeds that have all budgets. Budget 0 is the run
    without any group's rows, the same for all groups. `wrong` is NaN where languages were not identified."""

    model: str
    length: str
    setting: str
    group: str
    task: str
    budgets: tuple[int, ...]
    seeds: tuple[int, ...]
    languages: tuple[str, ...]
    scores: Float[np.ndarray, "budgets seeds languages"]
    wrong: Float[np.ndarray, "budgets seeds languages"]  # share of answers in a wrong language

    @property
    def title(self) -> tuple[str, ...]:
        return self.model, self.length, self.setting, self.group, self.task

    def over(self, languages: tuple[str, ...], values: Float[np.ndarray, "..."] | None = None) -> Any:
        """Mean over some languages, [budgets, seeds]."""
        chosen = [self.languages.index(language) for language in languages]
        return (self.scores if values is None else values)[:, :, chosen].mean(axis=2)


def curves(study: Study, results: Results) -> list[Curve]:
    """All curves that have a seed with all budgets."""
    by_key = {
        (run.model, str(run.length), run.setting, run.group, run.budget, run.seed, task): results[run.name]
        for run in runs(study)
        if run.name in results
        for task in run.tasks(study)
    }
    found = []
    for model, length, setting, group, task in _titles(study):
        shape = (len(study.budgets), len(study.seeds), len(study.languages))
        scores, wrong = np.full(shape, np.nan), np.full(shape, np.nan)
        for i, budget in enumerate(study.budgets):
            for j, seed in enumerate(study.seeds):
                key = (model, length, setting, group if budget else NONE, budget, seed, task)
                if key in by_key:
                    of = by_key[key]["scores"][task]
                    scores[i, j] = [of[language]["score"] for language in study.languages]
                    wrong[i, j] = [of[language].get("wrong_language", np.nan) for language in study.languages]
        whole = ~np.isnan(scores).any(axis=(0, 2))  # seeds of which all budgets are there
        if whole.any():
            seeds = tuple(seed for seed, there in zip(study.seeds, whole, strict=True) if there)
            labels = (model, length, setting, group, task)
            found.append(Curve(*labels, study.budgets, seeds, study.languages, scores[:, whole], wrong[:, whole]))
    return found


def _titles(study: Study) -> Iterator[tuple[str, str, str, str, str]]:
    for task in study.tasks:
        for model in study.models:
            for length in map(str, study.lengths):
                for setting in study.settings:
                    for group in study.groups:
                        yield model, length, setting, group, task


def table(study: Study, results: Results) -> dict[str, list[Any]]:
    """A column a factor, a row for every score: for the analysis of variance. `trained` says whether the run had rows
    in the language. Runs with budget 0 count to the first group: their budget tells them from the others already."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}

    def add(run: Run, task: str, language: str, score: float) -> None:
        trained = "yes" if language in (study.core, *run.languages(study)) else "no"
        group = next(iter(study.groups)) if run.group == NONE else run.group
        factors = (run.model, str(run.length), run.setting, group, run.budget, run.seed, language, trained)
        values = (run.name, task, *factors, score)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)

    for run in runs(study):
        for task, by_language in results.get(run.name, {}).get("scores", {}).items():
            for language, one in by_language.items():
                add(run, task, language, one["score"])
    return columns
