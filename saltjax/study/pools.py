"""The rows that a study may train on: those of a file without repetitions, test questions and unseen languages."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from saltjax.errors import UserError
from saltjax.study.design import Study, Task
from saltjax.study.identify import Identifier
from saltjax.study.rows import Row, read_rows

TWICE, TESTED, OTHER = "said twice", "asked in a test", "in another task"


class Pool(NamedTuple):
    """What may be trained on of one task and language. `refused`: {why: rows}; `elsewhere`: {language: rows} that are
    kept although they look like another language that is trained on."""

    file: str
    sha256: str
    rows: list[Row]
    refused: dict[str, int]
    elsewhere: dict[str, int]


class Questions(NamedTuple):
    file: str
    sha256: str
    rows: list[Row]


Key = tuple[str, str]  # task, language


def read_questions(study: Study) -> dict[Key, Questions]:
    """The test rows of all tasks and languages. Raises UserError naming every file that cannot be read."""
    found, problems = {}, []
    for task_name, task in study.tasks.items():
        for language in study.languages:
            path = task.test_file(language)
            try:
                rows = list(read_rows(path))
                found[task_name, language] = Questions(path, sha256(path), rows[: task.test_rows or None])
            except UserError as error:
                problems.append(f"tasks.{task_name}.test: {error}")
    if problems:
        raise UserError("\n".join(problems))
    return found


def pools(study: Study, asked: dict[Key, Questions], only: Collection[Key] | None = None) -> dict[Key, Pool]:
    """What can be trained on, of all tasks and languages that are trained on, or of `only` these.

    A row is refused whose messages have come before in its language (in its own file, or in that of a task that stands
    before in the study), whose prompt a test of its language asks, or of which a part (prompt or completion) is
    identified as an unseen language. Raises UserError naming every file that cannot be read.
    """
    identifier = Identifier(study.languages) if study.identify and study.unseen else None
    found, problems = {}, []
    for language in study.trained:
        tested = {_same(row.prompt) for (_, of), test in asked.items() if of == language for row in test.rows}
        before = set[str]()
        for name, task in study.tasks.items():
            try:
                pool = _pool(task, language, study, tested, before, identifier)
            except UserError as error:
                problems.append(f"tasks.{name}.train: {error}")
                continue
            before |= {row.digest for row in pool.rows}
            if only is None or (name, language) in only:
                found[name, language] = pool
    if problems:
        raise UserError("\n".join(problems))
    return found


def _pool(
    task: Task, language: str, study: Study, tested: set[str], before: set[str], identifier: Identifier | None
) -> Pool:
    path = task.train_file(language)
    refused, kept, here = Counter[str](), [], set[str]()
    for row in read_rows(path):
        digest = row.digest
        why = (
            TWICE if digest in here
            else OTHER if digest in before
            else TESTED if _same(row.prompt) in tested
            else None
        )  # fmt: skip
        here.add(digest)
        if why:
            refused[why] += 1
        else:
            kept.append(row)
    elsewhere = Counter[str]()
    if identifier:
        allowed = []
        parts = zip(identifier([row.prompt for row in kept]), identifier([row.completion for row in kept]), strict=True)
        for row, languages in zip(kept, parts, strict=True):
            others = {one for one in languages if one} - {language}
            if unseen := sorted(others & set(study.unseen)):
                refused[f"in {unseen[0]}"] += 1
            else:
                allowed.append(row)
                elsewhere.update(others)
        kept = allowed
    return Pool(path, sha256(path), kept, dict(sorted(refused.items())), dict(sorted(elsewhere.items())))


def enough(study: Study, found: dict[Key, Pool]) -> None:
    """Raises UserError naming every file with fewer rows than the largest budget asks for."""
    problems = []
    for (task, language), pool in found.items():
        wanted = study.core_rows if language == study.core else study.budgets[-1]
        if len(pool.rows) < wanted:
            refused = _listed(pool.refused)
            problems.append(
                f"tasks.{task}: {wanted} rows of {language} are asked for, {pool.file} has {len(pool.rows)}"
                + (f" ({refused} refused)" if refused else "")
                + "; lower the budget or give more rows"
            )
    if problems:
        raise UserError("\n".join(problems))


def sha256(path: str | Path) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _same(text: str) -> str:
    return " ".join(text.casefold().split())


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {why}" for why, count in counts.items())


def notes(found: Iterable[Pool]) -> list[str]:
    """What people should know of the rows that were left out, a line a file."""
    lines = []
    for pool in found:
        if pool.refused:
            lines.append(f"{pool.file}: refused {_listed(pool.refused)}; {len(pool.rows)} rows are left")
        if pool.elsewhere:
            lines.append(f"{pool.file}: kept, but identified as another language: {_listed(pool.elsewhere)}")
    return lines
