"""What a command prints: one JSON object with --json, else a table for people. Progress and notes go to stderr."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]


def emit(record: Mapping[str, Any], as_json: bool, show: Callable[[Console], None]) -> None:
    if as_json:
        json.dump(record, sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")
    else:
        show(Console(highlight=False))


def rows(console: Console, *pairs: tuple[str, Any]) -> None:
    """Names and values under one another; empty values are left out."""
    table = Table.grid(padding=(0, 2))
    for name, value in pairs:
        if value not in (None, "", []):
            table.add_row(f"[dim]{name}[/dim]", str(value))
    console.print(table)


def warn(messages: list[str]) -> None:
    for message in messages:
        print(f"saltjax: warning: {message}", file=sys.stderr)
