"""A right choice as the sets write it: its number, its letter, or its name."""

from collections.abc import Sequence
from typing import Any

from saltjax.errors import UserError


def chosen(label: Any, names: Sequence[str], where: str) -> int:
    """The index of a label among `names`. Raises UserError, naming `where`."""
    text = str(label).strip()
    if text in names:
        return list(names).index(text)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    raise UserError(f"{where}: {label!r} is none of the labels {', '.join(names)}")
