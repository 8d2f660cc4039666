"""saltjax evaluate MODEL TASK..."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from saltjax.cli.output import Json, emit, warn


def evaluate(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL TASK...", help="A model directory or hub id, and tasks; with --compare tasks alone."
        ),
    ] = None,
    text: Annotated[list[Path] | None, typer.Option("--text", help="Held-out text for bpb: FILE...")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="The folder of the sets; by default they come from TFDS or the hub.")
    ] = None,
    shots: Annotated[int, typer.Option(help="Solved examples before every question.")] = 0,
    limit: Annotated[int | None, typer.Option(help="Only the first so many questions of each task.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Keeps every answer there; an evaluation that was interrupted goes on.")
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option("--compare", metavar="A B", help="Two results (--out) of evaluate, or two models and tasks."),
    ] = None,
    seq_len: Annotated[
        int | None,
        typer.Option(help="Positions used; by default the model's, for bpb at most 1024."),
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 (default on a CPU) or bfloat16.")] = None,
    batch_size: Annotated[int, typer.Option(help="Windows of text at a time.")] = 8,
    as_json: Json = False,
) -> None:
    """Measure a model: bits per byte of text (`bpb`), or tasks with right answers, `NAME` or `NAME:LANG`.

    Tasks: bpb xquad mlqa tydiqa xnli pawsx xcopa m_arc m_hellaswag m_mmlu m_truthfulqa mgsm msvamp gsm8k;
    docs/evaluation.md says what each asks. `mlqa:de-en` asks in English about German passages.

    saltjax evaluate llama-de xnli:de m_arc:de --data eval --out results/llama-de

    saltjax evaluate --compare results/llama results/llama-de
    """
    from saltjax import api
    from saltjax.cli.answering import Answering
    from saltjax.errors import UserError

    words = words or []
    how: dict[str, Any] = {
        "data": data, "shots": shots, "limit": limit, "out": out, "seq_len": seq_len, "dtype": dtype,
        "batch_size": batch_size,
    }  # fmt: skip
    with Answering() as answering:
        if compare:
            record = api.compare(*compare, words, progress=answering, **how) if words else api.compare(*compare)
        elif len(words) < 2:
            raise UserError("evaluate needs a model and at least one task: saltjax evaluate MODEL TASK...")
        else:
            record = api.evaluate(words[0], words[1:], text=text or (), progress=answering, **how)
    if not compare:
        warn(losses(record["results"]))
    emit(record, as_json, lambda console: (_differences if compare else _scores)(console, record["results"]))


def losses(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the model did not see."""
    said = []
    for name, found in results.items():
        if found.get("unknown"):
            said.append(f"{name}: {found['unknown']:,} unknown tokens: their text is lost, the score flatters")
        if found.get("unknown_tokens"):
            said.append(f"{name}: {found['unknown_tokens']:,} tokens of the questions are unknown: their text is lost")
        if found.get("truncated"):
            said.append(
                f"{name}: {found['truncated']:,} prompts are longer than the positions and lost their beginning"
            )
    return said


def _scores(console: Console, results: Mapping[str, Mapping[str, Any]]) -> None:
    table = Table("task", "metric", "value", "95 % interval", "n", box=None)
    for name, found in results.items():
        if "bits_per_byte" in found:
            interval = _between(found["interval"], 1)
            table.add_row(name, "bits per byte", f"{found['bits_per_byte']:.4f}", interval, f"{found['n']:,}")
            continue
        for number, (metric, interval) in enumerate(found["intervals"].items()):
            first = (name, f"{found['n']:,}") if not number else ("", "")
            table.add_row(first[0], metric, f"{100 * found[metric]:.2f}", _between(interval, 100), first[1])
    console.print(table)


def _differences(console: Console, results: Mapping[str, Mapping[str, Any]]) -> None:
    table = Table("task", "metric", "A", "B", "B - A", "95 % interval", "p", "test", "n", box=None)
    for name, found in results.items():
        metrics = ((metric, one) for metric, one in found.items() if metric != "n")
        for number, (metric, one) in enumerate(metrics):
            table.add_row(
                "" if number else name,
                metric,
                f"{100 * one['a']:.2f}",
                f"{100 * one['b']:.2f}",
                f"{100 * one['difference']:+.2f}",
                _between(one["interval"], 100),
                f"{one['p']:.3g}",
                one["test"],
                "" if number else f"{found['n']:,}",
            )
    console.print(table)


def _between(interval: Sequence[float] | None, times: int) -> str:
    if interval is None:
        return "-"
    digits = 4 if times == 1 else 2
    return f"{times * interval[0]:.{digits}f} to {times * interval[1]:.{digits}f}"
