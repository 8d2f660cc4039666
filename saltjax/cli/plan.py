"""What `--plan` of `saltjax adapt` and `saltjax finetune` prints."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from saltjax.cli.output import emit, rows

GIB = 2**30
MOST = 8  # collectives that are shown

Plan = Annotated[
    str | None,
    typer.Option("--plan", metavar="SLICE", help="Train nothing: what a step costs on v5e:4x4, v5p:2x2x1, ..."),
]


def show_plan(model: str, where: str, config: Path | None, settings: Sequence[str], as_json: bool) -> None:
    """Nothing is computed here but a program, so a CPU is enough, and a TPU that trains is left alone."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # a program from the cache does not say what it needs
    from saltjax import api

    record = api.plan(model, where, config=config, overrides=settings)
    emit(record, as_json, lambda console: _show(console, record))


def _show(console: Console, record: dict[str, Any]) -> None:
    memory, estimate = record["bytes_per_chip"], record["estimate"]
    limit = memory["limit"]
    sent = estimate and record["collectives"] and estimate["link_seconds"]
    verdict = {True: "fits", False: "does NOT fit", None: "memory of this device is unknown"}[record["fits"]]
    axes = " x ".join(f"{name}={size}" for name, size in record["mesh"].items())
    rows(
        console,
        ("slice", f"{record['plan']}: {record['chips']} x {record['chip']}, mesh {axes}"),
        ("learns", f"{record['learning']:,} of {record['parameters']:,} parameters ({record['trainable']})"),
        ("a chip holds", f"{_gib(memory['total'])}{f' of {_gib(limit)}' if limit else ''}: {verdict}"),
        ("  parameters", _gib(memory["parameters"])),
        ("  optimizer", _gib(memory["optimizer"])),
        ("  temporaries", _gib(memory["temporaries"])),
        ("flops a step", f"{record['flops']['step']:.3g}, {record['flops']['chip']:.3g} a chip"),
        ("step", estimate and f"{estimate['step_seconds']:.2f} s, if it reaches {estimate['mfu']:.0%} of the peak"),
        ("speed", estimate and f"{estimate['tokens_per_second']:,.0f} tokens a second, then"),
        ("links", sent and f"busy for {sent:.2f} s of it at their full speed"),
        ("compiled in", f"{record['compile_seconds']} s"),
    )
    if record["collectives"]:
        console.print(f"\n[dim]{'collective':20}{'where':9}{'times':>6}  {'a chip sends':>12}  of[/dim]")
    for one in record["collectives"][:MOST]:
        console.print(
            f"{one['kind']:20}{one['where']:9}{one['times']:6}  {_gib(one['sent']):>12}  {one['shape']}", markup=False
        )
    if rest := record["collectives"][MOST:]:
        console.print(f"and {len(rest)} smaller kinds: {_gib(sum(one['sent'] for one in rest))}", markup=False)
    for line in record["suspicious"]:
        console.print(f"look at: {line}", markup=False)
    if record["suggestions"]:
        console.print("\nto make it fit:")
    for line in record["suggestions"]:
        console.print(f"  {line}", markup=False)


def _gib(size: int | float) -> str:
    return f"{size / GIB:.2f} GiB"
