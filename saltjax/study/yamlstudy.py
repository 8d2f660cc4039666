"""A study out of YAML. Every mistake is found, and each is one line: where, what, and what to write instead."""

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from saltjax.errors import UserError
from saltjax.study import values
from saltjax.study.design import EVERYTHING, SETTINGS, Judge, Length, Study, Task
from saltjax.train.config import AdaptConfig, read_config
from saltjax.train.yamlfile import flatten, load_yaml

KEYS = (
    "name", "models", "tasks", "languages", "groups", "budgets", "settings", "train_for", "seeds", "finetune", "judge",
    "identify", "keep",
)  # fmt: skip
# Settings that the study itself decides, or that have no place in it.
OURS = ("steps", "epochs", "seed", "data", "stages", "embeddings_first")


def read_study(path: str | Path) -> Study:
    """The study of a YAML file (docs/study.md lists the keys). `$NAME` in paths is the environment's.

    Raises UserError with one line for every mistake in it.
    """
    content = load_yaml(Path(path))
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected lines of `key: value`, found {content!r}; docs/study.md has an example")
    reader = _Reader(str(path), content)
    study = reader.study()
    if reader.problems:
        raise UserError("\n".join(f"{path}: {problem}" for problem in reader.problems))
    return study


class _Reader:
    def __init__(self, path: str, content: dict):
        self.path, self.content, self.problems = path, content, list[str]()

    def study(self) -> Study:
        self._unknown("", self.content, KEYS)
        languages = self._part("languages", ("core", "core_rows", "seen", "unseen"))
        core = self._take(languages, "languages.core", values.text, "")
        core_rows = self._take(languages, "languages.core_rows", values.count, 0)
        seen = self._take(languages, "languages.seen", values.names, ())
        unseen = self._take(languages, "languages.unseen", values.names, ())
        budgets = self._take(self.content, "budgets", values.budgets, ())
        groups = {
            name: self._take(self._part("groups"), f"groups.{name}", values.names, ()) for name in self._part("groups")
        } or {EVERYTHING: seen}
        self._languages(core, core_rows, seen, unseen, budgets, groups)
        tasks = {name: self._task(name) for name in self._part("tasks")}
        if not tasks:
            self.problems.append("tasks: none; give at least one with train, test and metric")
        judge = self._judge() if "judge" in self.content else None
        if judge is None and any(task.metric == "judge" for task in tasks.values()):
            self.problems.append("judge: a task is scored by it; say which with `judge: {model: ...}`")
        settings = self._take(self.content, "settings", values.names, ("single",))
        self.problems += [
            f"settings: {one!r} is not known; choose from {', '.join(SETTINGS)}"
            for one in settings
            if one not in SETTINGS
        ]
        if "multi" in settings and len(tasks) < 2:
            self.problems.append("settings: multi needs two tasks or more; leave it out")
        return Study(
            name=self._take(self.content, "name", values.name, Path(self.path).stem),
            models=self._models(),
            tasks=tasks,
            seen=seen,
            unseen=unseen,
            budgets=budgets,
            core=core,
            core_rows=core_rows,
            groups=groups,
            settings=settings,
            lengths=self._take(self.content, "train_for", values.lengths, (Length(3.0, "epochs"),)),
            seeds=self._take(self.content, "seeds", values.seeds, (0,)),
            finetune=self._finetune(),
            judge=judge,
            identify=self._take(self.content, "identify", values.flag, True),
            keep=self._take(self.content, "keep", values.flag, False),
        )

    def _take(self, mapping: dict, where: str, check: Callable[[Any], Any], default: Any) -> Any:
        """The checked value of the last part of `where`; the default where it is missing or wrong."""
        key = where.rpartition(".")[2]
        if key not in mapping:
            return default
        try:
            return check(mapping[key])
        except values.Wrong as wrong:
            self.problems.append(f"{where}: {wrong}")
            return default

    def _part(self, key: str, known: tuple[str, ...] = ()) -> dict:
        value = self.content.get(key, {})
        if not isinstance(value, dict):
            line = f"{key}: {value!r} is no mapping; write indented lines of `name: value` below it"
            self.problems += [line] if line not in self.problems else []
            return {}
        if known:
            self._unknown(f"{key}.", value, known)
        return value

    def _unknown(self, where: str, mapping: dict, known: tuple[str, ...]) -> None:
        for key in mapping:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
                self.problems.append(f"{where}{key}: not known; the nearest is {near!r}")

    def _models(self) -> dict[str, str]:
        found = {}
        for name in self._part("models"):
            found[str(name)] = self._take(self.content["models"], f"models.{name}", values.path, "")
        if not found:
            self.problems.append("models: none; give at least one, as in `models: {small: DIRECTORY}`")
        self._names_of("models", found)
        return found

    def _task(self, name: str) -> Task:
        value, where = self.content["tasks"][name], f"tasks.{name}"
        self._names_of("tasks", [name])
        if not isinstance(value, dict):
            self.problems.append(f"{where}: {value!r} is no mapping; give train, test and metric")
            return Task("", "", "exact")
        self._unknown(f"{where}.", value, ("train", "test", "metric", "max_new", "test_rows"))
        self.problems += [f"{where}.{key}: missing" for key in ("train", "test", "metric") if key not in value]
        return Task(
            self._take(value, f"{where}.train", values.pattern, ""),
            self._take(value, f"{where}.test", values.pattern, ""),
            self._take(value, f"{where}.metric", values.metric, "exact"),
            self._take(value, f"{where}.max_new", values.positive, 128),
            self._take(value, f"{where}.test_rows", values.count, 0),
        )

    def _names_of(self, where: str, names: Any) -> None:
        self.problems += [
            f"{where}.{name}: a name is letters, digits, - and _"
            for name in names
            if not re.fullmatch(values.NAME, str(name))
        ]

    def _judge(self) -> Judge:
        value = self._part("judge", ("model", "url", "key"))
        if not value.get("model"):
            self.problems.append("judge.model: missing; the name at the url, or without a url a model directory")
        given = {key: self._take(value, f"judge.{key}", values.text, "") for key in value if key in ("url", "key")}
        return Judge(self._take(value, "judge.model", values.path, ""), **given)

    def _finetune(self) -> dict[str, Any]:
        flat = dict(flatten(self._part("finetune")))
        for key in OURS:
            if flat.pop(key, None) is not None:
                self.problems.append(f"finetune.{key}: is decided by the study; leave it out")
        for key, value in list(flat.items()):
            try:
                read_config(None, [f"{key}={value}"])
            except UserError as error:
                self.problems.append(f"finetune.{key}: {error}")
                del flat[key]
        return flat

    def _languages(
        self,
        core: str,
        core_rows: int,
        seen: tuple[str, ...],
        unseen: tuple[str, ...],
        budgets: tuple[int, ...],
        groups: dict[str, tuple[str, ...]],
    ) -> None:
        """Whether what is said about languages goes together."""
        add = self.problems.append
        if not seen:
            add("languages.seen: none; name the languages whose data is to be bought")
        for language in (set(seen) | {core}) & set(unseen):
            add(f"languages.unseen: {language} is trained on too; a language is either")
        if core in seen:
            add(f"languages.seen: {core} is the core already; leave it out there")
        if bool(core) != bool(core_rows):
            add("languages.core: core and core_rows go together, as in `core: en` and `core_rows: 1000`")
        if not budgets:
            add("budgets: none; give rows a language, as in [0, 100, 200, 400]")
        if 0 in budgets and not core:
            add("budgets: 0 rows leave nothing to train on without languages.core")
        for name, members in groups.items():
            self._names_of("groups", [name])
            for language in members:
                if language not in seen:
                    add(f"groups.{name}: {language} is not among languages.seen")
            if not members and seen:
                add(f"groups.{name}: empty; name some of languages.seen")
        alike = [set(members) for members in groups.values()]
        if any(one in alike[:number] for number, one in enumerate(alike)):
            add("groups: two have the same languages; leave one out")


def overrides(study: Study) -> list[str]:
    """The study's settings of finetune, as its command line takes them."""
    return [f"{key}={value}" for key, value in study.finetune.items()]


def settings_of(study: Study) -> AdaptConfig:
    return read_config(None, overrides(study))
