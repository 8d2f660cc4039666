"""saltjax quickstart"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from saltjax.cli.output import Json, emit, rows


def quickstart(
    language: Annotated[str, typer.Option(help="de, ar or vi.")] = "de",
    out: Annotated[Path | None, typer.Option(help="Where to; by default ./saltjax-quickstart-LANGUAGE.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier quickstart there.")] = False,
    as_json: Json = False,
) -> None:
    """See all of it work, offline and without an accelerator, in about two minutes.

    Takes the small English-centric LLM and the small target-language PLM that come with saltjax, transfers the
    vocabulary with SALT and with the Gaussian baseline, adapts both on a quarter megabyte of text, exports SALT's to
    PyTorch, loads it back, and prints what was measured.
    """
    from saltjax import api

    try:
        record = api.quickstart(language, out, overwrite=overwrite)
    except KeyboardInterrupt:
        print("saltjax: the quickstart is removed; the same command begins anew", file=sys.stderr)
        raise

    def show(console: Console) -> None:
        curves = {run["init"]: dict(run["bits_per_byte"]) for run in record["runs"]}
        steps = list(next(iter(curves.values())))
        shown = [steps[i] for i in sorted({0, 1, len(steps) // 4, len(steps) // 2, len(steps) - 1})]
        table = Table("held-out bits per byte after", *(f"{step} steps" for step in shown), box=None)
        for init, curve in curves.items():
            table.add_row(init, *(f"{curve[step]:.3f}" for step in shown))
        table.add_row("the LLM as it was", f"{record['source_bits_per_byte']:.3f}", *("" for _ in shown[1:]))
        console.print(table)
        words, difference = record["tokens_per_word"], record["max_abs_logit_difference"]
        console.print()
        rows(
            console,
            ("tokens a word", f"{words['source']:.2f} before, {words['target']:.2f} after"),
            ("sample", record["sample"]),
            ("PyTorch model", record["model"]),
            ("its logits", difference and f"within {difference:.1e} of ours"),
            ("picture", record["picture"]),
            ("seconds", record["seconds"]),
        )

    emit(record, as_json, show)
