"""saltjax evaluate MODEL TASK..."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from saltjax.cli.output import Json, emit, warn


def evaluate(
    model: Annotated[str, typer.Argument(help="A model directory or a hub id.")],
    tasks: Annotated[list[str], typer.Argument(metavar="TASK...", help="bpb: bits per byte of --text.")],
    text: Annotated[list[Path] | None, typer.Option("--text", help="Held-out text for bpb: FILE...")] = None,
    seq_len: Annotated[
        int | None, typer.Option(help="Window length; by default the smaller of 1024 and the model's positions.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 (default on a CPU) or bfloat16.")] = None,
    batch_size: Annotated[int, typer.Option(help="Windows at a time.")] = 8,
    as_json: Json = False,
) -> None:
    """Measure a model. Bits per byte compare models whatever their vocabularies; per-token losses do not."""
    from saltjax import api

    record = api.evaluate(model, tasks, text=text or (), seq_len=seq_len, dtype=dtype, batch_size=batch_size)

    lossy = [name for name, found in record["results"].items() if found["unknown"]]
    warn(
        [
            f"{name}: {record['results'][name]['unknown']:,} unknown tokens: their text is lost, the score flatters"
            for name in lossy
        ]
    )

    def show(console: Console) -> None:
        table = Table("task", "bits per byte", "95 % interval", "documents", "bytes", "unknown tokens", box=None)
        for name, found in record["results"].items():
            low, high = found["interval"] or (None, None)
            table.add_row(
                name,
                f"{found['bits_per_byte']:.4f}",
                f"{low:.4f} to {high:.4f}" if low is not None else "-",
                f"{found['n']:,}",
                f"{found['bytes']:,}",
                f"{found['unknown']:,}",
            )
        console.print(table)

    emit(record, as_json, show)
