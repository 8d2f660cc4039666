"""saltjax study plan|run|analyse"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from saltjax.cli.output import Json, emit, rows, warn

study = typer.Typer(
    help="Which data to train on: grids of finetunes over languages, tasks and amounts: plan, run, analyse. "
    "docs/study.md has the words of a STUDY.yaml and an example.",
    no_args_is_help=True,
    add_completion=False,
)
SHOWN = 12  # runs of a plan

Out = Annotated[Path, typer.Argument(help="The study's folder: plan, runs, results, analysis.")]


@study.command()
def plan(
    file: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="What is compared; docs/study.md.")],
    out: Out,
    device: Annotated[
        str | None, typer.Option("--device", help="Estimate hours on it: H100, 8xH100, v5e, ... (bfloat16 peak).")
    ] = None,
    vm: Annotated[list[str] | None, typer.Option("--vm", help="A TPU VM, for tpu-vms.sh; can be given again.")] = None,
    zone: Annotated[str, typer.Option("--zone", help="Of the TPU VMs.")] = "ZONE",
    at_once: Annotated[int, typer.Option("--at-once", help="Tasks of slurm.sh that run at a time.")] = 8,
    as_json: Json = False,
) -> None:
    """Expand a study into runs; say what each is trained on (manifest.json, to the byte) and what all of it will take.

    Trains nothing. Beside the manifest OUT gets commands.txt (one command a run) and slurm.sh (an array job). A
    study that is changed after its first run needs another OUT. Example:

    saltjax study plan configs/study-pocket.yaml studies/pocket --device H100
    """
    from saltjax import api

    record = api.study_plan(file, out, on=device, vms=vm or (), zone=zone, at_once=at_once)
    warn(record["notes"])
    emit(record, as_json, lambda console: _show_plan(console, record))


def _show_plan(console: Console, record: dict[str, Any]) -> None:
    table = Table("run", "tokens", "steps", "hours", box=None, header_style="dim")
    for column in table.columns[1:]:
        column.justify = "right"
    for one in record["costs"][:SHOWN]:
        table.add_row(one["run"], f"{one['tokens']:,}", f"{one['steps']:,}", _hours(one["hours"]))
    if len(record["costs"]) > SHOWN:
        table.add_row(f"and {len(record['costs']) - SHOWN:,} more", "", "", "")
    table.add_row(f"{record['runs']:,} runs", f"{record['tokens']:,}", f"{record['steps']:,}", _hours(record["hours"]),
                  style="bold")  # fmt: skip
    console.print(table)
    rows(
        console,
        ("training", f"{record['train_flops']:.3g} flops"),
        ("answers", f"{record['test_flops']:.3g} flops at most"),
        ("device", record["device"]),
        ("manifest", record["manifest_sha256"]),
        ("written", f"{record['out']}; next: saltjax study run {record['out']}"),
    )


def _hours(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


@study.command()
def run(
    out: Out,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="RUN", help="This run alone; can be given again.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Do the runs that have no result yet. Ctrl-C saves; the same command goes on. Several machines may share OUT.

    A run that fails is tried once more and then told, with status 1 at the end; the others go on. Data or models that
    have changed since the plan are refused. Example:

    saltjax study run studies/pocket
    """
    from saltjax import api

    record = api.study_run(out, only=only or (), say=lambda line: print(line, file=sys.stderr))

    def show(console: Console) -> None:
        rows(console, *((name, record[name]) for name in ("finished", "failed", "skipped") if record[name]))
        for name in record["failures"]:
            console.print(f"{name} failed: {out}/runs/{name}/log.jsonl", markup=False)
        if not (record["failed"] or record["skipped"] or only):
            rows(console, ("next", f"saltjax study analyse {out}"))

    emit(record, as_json, show)
    if record["failed"]:
        raise typer.Exit(1)


@study.command()
def analyse(out: Out, as_json: Json = False) -> None:
    """Write OUT/analysis.html, .md, .json and pictures, of the runs that are done: scores by language, seen and unseen
    averages, gaps, transfer, plateaus, which factors matter."""
    from saltjax import api

    record = api.study_analyse(out)

    def show(console: Console) -> None:
        rows(console, ("runs", f"{record['runs']['done']} of {record['runs']['planned']}"), ("written", record["out"]))

    emit(record, as_json, show)
