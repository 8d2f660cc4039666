"""saltjax export RUN OUT"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from saltjax.cli.output import Json, emit, rows


def export(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    out: Annotated[Path, typer.Argument(help="The PyTorch model's directory.")],
    step: Annotated[
        str | None, typer.Option(help="Which checkpoint: a number, or best (on held-out text); by default the last.")
    ] = None,
    adapter: Annotated[bool, typer.Option("--adapter", help="The LoRA adapters alone, for PEFT.")] = False,
    ema: Annotated[bool, typer.Option("--ema", help="The moving averages of what learned (setting ema).")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Write a run's checkpoint as an ordinary Hugging Face / PyTorch model directory.

    With torch installed the result is loaded by transformers and its logits are compared with ours. LoRA adapters are
    merged; with --adapter they alone are written, as a PEFT directory.
    """
    from saltjax import api

    record = api.export(run, out, step=step, overwrite=overwrite, adapter=adapter, ema=ema)

    def show(console: Console) -> None:
        difference = record["max_abs_logit_difference"]
        rows(
            console,
            ("written", record["out"]),
            ("step", record["step"]),
            ("check", "not made" if difference is None else f"logits within {difference:.1e}"),
        )

    emit(record, as_json, show)
