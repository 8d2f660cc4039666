"""Rows of a Markdown table."""

from collections.abc import Iterator, Sequence


def head(cells: Sequence[str]) -> Iterator[str]:
    yield row(cells)
    yield "|" + "---|" * len(cells)


def row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
