"""What one value of a study's YAML may be. Each function gives it back in its type, or raises `Wrong`."""

import os
import re
from typing import Any

from saltjax.study.design import METRICS, Length

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"  # of models, tasks, groups: parts of a run's name


class Wrong(Exception):
    """What is wrong with a value, and how to write it."""


def text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise Wrong(f"{value!r} is not a text")
    return value


def name(value: Any) -> str:
    if not re.fullmatch(NAME, str(value)):
        raise Wrong(f"{value!r}: a name is letters, digits, - and _")
    return str(value)


def path(value: Any) -> str:
    """With the environment's variables filled in."""
    found = os.path.expandvars(os.path.expanduser(text(value)))
    if missing := re.search(r"\$\{?(\w+)", found):
        raise Wrong(f"${missing[1]} is not set; export {missing[1]}=... first")
    return found


def pattern(value: Any) -> str:
    found = path(value)
    if "{language}" not in found:
        raise Wrong(f"{found}: has no {{language}}, as in data/{{language}}.jsonl")
    return found


def metric(value: Any) -> str:
    if value not in METRICS:
        raise Wrong(f"{value!r} is not known; choose from {', '.join(METRICS)}")
    return value


def count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Wrong(f"{value!r} is not a whole number, 0 or more")
    return value


def positive(value: Any) -> int:
    if not count(value):
        raise Wrong("must be at least 1")
    return value


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"{value!r} is neither true nor false")
    return value


def listed(value: Any) -> list:
    if not isinstance(value, list) or not value:
        raise Wrong(f"{value!r} is no list, as in [a, b]")
    if repeated := [one for number, one in enumerate(value) if one in value[:number]]:
        raise Wrong(f"{repeated[0]} is there twice")
    return value


def names(value: Any) -> tuple[str, ...]:
    """YAML reads the Norwegian `no` as false."""
    if any(one is False for one in listed(value)):
        raise Wrong('write "no" in quotes: YAML takes it for false')
    return tuple(name(one) for one in value)


def budgets(value: Any) -> tuple[int, ...]:
    counts = [count(one) for one in listed(value)]
    if counts != sorted(counts):
        raise Wrong(f"{value} must grow")
    return tuple(counts)


def seeds(value: Any) -> tuple[int, ...]:
    return tuple(count(one) for one in listed(value))


def lengths(value: Any) -> tuple[Length, ...]:
    found = []
    for one in listed(value):
        parts = re.fullmatch(r"(\d+(?:\.\d+)?) (epochs|steps)", str(one))
        if not parts or float(parts[1]) == 0 or (parts[2] == "steps" and "." in parts[1]):
            raise Wrong(f"{one!r} is no length of training; write it as in `3 epochs` or `60 steps`")
        found.append(Length(float(parts[1]), parts[2]))
    return tuple(found)
