"""The runs of a study."""

import itertools
from dataclasses import dataclass

from saltjax.study.design import EVERYTHING, Length, Study

NONE = "none"  # the group of a run with budget 0: it is the same for all groups


@dataclass(frozen=True)
class Run:
    """One training and its scores. `task` is EVERYTHING in a multi-task run."""

    model: str
    length: Length
    setting: str
    task: str
    group: str
    budget: int
    seed: int

    @property
    def name(self) -> str:
        length = str(self.length).replace(" ", "-").replace(".", "_")
        return ".".join([self.model, length, self.setting, self.task, self.group, str(self.budget), str(self.seed)])

    def tasks(self, study: Study) -> tuple[str, ...]:
        return tuple(study.tasks) if self.task == EVERYTHING else (self.task,)

    def languages(self, study: Study) -> tuple[str, ...]:
        """Those that the budget is spent on."""
        return () if self.group == NONE else study.groups[self.group]

    def rows(self, study: Study) -> dict[tuple[str, str], int]:
        """{(task, language): rows to train on}"""
        core = {(task, study.core): study.core_rows for task in self.tasks(study)} if study.core else {}
        return core | {(task, one): self.budget for task in self.tasks(study) for one in self.languages(study)}


def runs(study: Study) -> list[Run]:
    """Seed after seed, and within one from small budgets to large ones, so that what is interrupted can be analysed."""
    found = []
    for seed, budget, model, length, setting in itertools.product(
        study.seeds, study.budgets, study.models, study.lengths, study.settings
    ):
        for task in study.tasks if setting == "single" else (EVERYTHING,):
            for group in study.groups if budget else (NONE,):
                found.append(Run(model, length, setting, task, group, budget, seed))
    return found
