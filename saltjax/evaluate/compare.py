"""Two results of evaluate, question by question."""

from pathlib import Path
from typing import Any

import numpy as np

from saltjax.errors import UserError
from saltjax.evaluate.intervals import paired
from saltjax.evaluate.shelf import SETTINGS, parsed, task_of

Found = dict[int, dict[str, Any]]  # number -> line


def compared(a: Path, b: Path) -> dict[str, dict[str, Any]]:
    """TASK{METRIC{a, b, difference, interval, p, test}, n} of the tasks that both folders hold.

    `difference` is b - a over the questions that both have answered; see `intervals.paired`. Raises UserError: not a
    result of evaluate; no task in common; the same question with other data, prompt or shots.
    """
    for path in (a, b):
        if not (path / SETTINGS).is_file():
            raise UserError(f"{path}: not a result of evaluate (it has no {SETTINGS}); make one with --out")
    names = [path.name for path in sorted(a.glob("*.jsonl")) if (b / path.name).is_file()]
    if not names:
        raise UserError(f"{a} and {b} have no task in common")
    return {task_of(name): _one(a / name, b / name) for name in names}


def _one(a: Path, b: Path) -> dict[str, Any]:
    first, second = _read(a), _read(b)
    both = sorted(first.keys() & second.keys())
    if not both:
        raise UserError(f"{a} and {b} have no question in common")
    for number in both:
        if first[number]["digest"] != second[number]["digest"]:
            raise UserError(
                f"{a} and {b}: question {first[number]['id']} was asked differently; compare like with like"
            )
    found: dict[str, Any] = {"n": len(both)}
    for metric in first[both[0]]["scores"]:
        one, two = (np.array([some[number]["scores"][metric] for number in both], float) for some in (first, second))
        found[metric] = {"a": float(one.mean()), "b": float(two.mean()), **paired(one, two)._asdict()}
    return found


def _read(path: Path) -> Found:
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    rows = [parsed(line, path, number) for number, line in enumerate(lines, 1)]
    return {row["number"]: row for row in rows}
