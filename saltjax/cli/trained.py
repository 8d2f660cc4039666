"""What is printed after a run of `adapt` or `finetune`."""

from collections.abc import Mapping
from typing import Any

import typer
from rich.console import Console

from saltjax.cli.output import emit, rows


def report_run(record: Mapping[str, Any], as_json: bool, speaks: bool, what: str = "") -> None:
    """The record of a run, if this process `speaks`. `what`: bits per byte and tokens of what, where it is not text."""

    def show(console: Console) -> None:
        speed, loss = record["tokens_per_second"], record["loss"]
        rows(
            console,
            ("steps", record["steps"]),
            ("loss", loss and f"{loss:.4f} nats a token"),
            *((name, f"{value:.4f} bits per byte{what}") for name, value in record["valid"].items()),
            ("speed", speed and f"{speed:,.0f} tokens{what} a second"),
            ("MFU", record["mfu"] and f"{record['mfu']:.1%}"),
            ("waiting for data", speed and f"{record['data_wait']:.1%} of the time"),
            *(
                (one["name"], f"{one['tokens_seen']:,} tokens seen, {one['epochs']:.3g} epochs")
                for one in record["data"]["sources"]
            ),
            ("checkpoint", record["checkpoint"]),
        )

    if speaks:
        emit(record, as_json, show)
    if record["interrupted"]:
        raise typer.Exit(130)
