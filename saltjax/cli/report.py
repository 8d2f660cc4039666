"""saltjax report RUN... OUT.html"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from saltjax.cli.output import Json, emit, rows


def report(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RUN... OUT.html", help="What to report on, and last the page to write.")
    ],
    token: Annotated[
        list[str] | None,
        typer.Option("--token", help="A token's text to list with its neighbours; can be given again."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.html and OUT.json.")] = False,
    as_json: Json = False,
) -> None:
    """One page on transfers and on the runs that followed: overlap, neighbours, norms, worst tokens, scores, curves.

    RUN is a directory that `saltjax transfer` or `saltjax adapt` wrote, or a file with the JSON of
    `saltjax inspect --scores --json`. The page needs nothing else and opens in any browser; the numbers lie beside it
    as JSON. Example:

    saltjax report llama-de runs/llama-de scores.json llama-de.html
    """
    from saltjax import api

    record = api.report(paths[:-1], paths[-1], tokens=token or (), overwrite=overwrite)

    def show(console: Console) -> None:
        rows(
            console,
            ("transfers", len(record["transfers"])),
            ("scores", len(record["scores"])),
            ("runs", len(record["runs"])),
            ("written", f"{record['out']} and {record['json']}"),
        )

    emit(record, as_json, show)
