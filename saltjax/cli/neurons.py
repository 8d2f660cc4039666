"""saltjax neurons find|intervene|tune"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from saltjax.cli.evaluate import losses
from saltjax.cli.output import Json, emit, rows, warn
from saltjax.cli.passing import Passing, line
from saltjax.cli.trained import report_run

neurons = typer.Typer(
    help="Neurons that belong to a language: find them, hold them at a value, train only them.",
    no_args_is_help=True,
    add_completion=False,
)

Model = Annotated[str, typer.Argument(help="A model directory or a hub id.")]
Text = Annotated[
    list[str] | None, typer.Option("--text", help="Text by language: LANG=FILE..., in any format of adapt.")
]
Tokens = Annotated[int | None, typer.Option(help="At most so many tokens of each language; by default all.")]
SeqLen = Annotated[int | None, typer.Option(help="Window length; by default the smaller of 1024 and the positions.")]
Dtype = Annotated[str | None, typer.Option(help="float32 (default on a CPU) or bfloat16.")]
BatchSize = Annotated[int, typer.Option(help="Windows at a time.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")]


@neurons.command()
def find(
    model: Model,
    out: Annotated[Path, typer.Argument(help="A directory for neurons.json, stats.safetensors and pictures.")],
    text: Text = None,
    method: Annotated[
        str,
        typer.Option(help="lape; act-prob-zero, -mean, -75p, -90p, -95p, -90p-pooled; act-abs-mean."),
    ] = "lape",
    point: Annotated[
        str, typer.Option(help="Before (pre) or after (post) the activation function, or the gated product.")
    ] = "post",
    rate: Annotated[
        float | None, typer.Option(help="Share of all neurons that is chosen: lape 0.01, else 0.00125 a language.")
    ] = None,
    percentiles: Annotated[
        str,
        typer.Option(help="Of all tokens (sketch), or the mean of those of batches of --batch-size windows (batches)."),
    ] = "sketch",
    tokens: Tokens = None,
    seq_len: SeqLen = None,
    dtype: Dtype = None,
    batch_size: BatchSize = 16,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Find each language's neurons from the activations in its text."""
    from saltjax import api

    with Passing() as passing:
        record = api.neurons_find(
            model, out, text=text or (), method=method, point=point, rate=rate, percentiles=percentiles,
            tokens=tokens, seq_len=seq_len, dtype=dtype, batch_size=batch_size, overwrite=overwrite,
            reading=passing.reading, progress=passing,
        )  # fmt: skip

    def show(console: Console) -> None:
        languages = list(record["neurons"])
        table = Table("language", "tokens", "neurons", "by layer", *(f"also {one}" for one in languages), box=None)
        for language in languages:
            table.add_row(
                language,
                f"{record['tokens'][language]:,}",
                f"{record['neurons'][language]:,}",
                " ".join(map(str, record["by_layer"][language])),
                *(f"{record['shared'][language][other]:,}" for other in languages),
            )
        console.print(table)
        rows(
            console,
            ("written", record["out"]),
            *((f"to train {language}'s", f"trainable={setting}") for language, setting in record["trainable"].items()),
        )

    emit(record, as_json, show)


@neurons.command()
def intervene(
    model: Model,
    found: Annotated[Path, typer.Argument(metavar="NEURONS", help="What `neurons find` wrote.")],
    tasks: Annotated[list[str], typer.Argument(metavar="TASK...", help="ppl, and tasks of evaluate as NAME:LANG.")],
    text: Text = None,
    data: Annotated[Path | None, typer.Option("--data", help="The folder of evaluate's sets.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many questions of each task.")] = None,
    values: Annotated[
        str, typer.Option("--values", help="zero, mean, p5, p10, p25, p50, p75, p90, p95, or a number.")
    ] = "zero",
    controls: Annotated[int, typer.Option(help="Draws of as many random neurons in each layer.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the first draw.")] = 0,
    seq_len: SeqLen = None,
    dtype: Dtype = None,
    batch_size: BatchSize = 16,
    out: Annotated[Path | None, typer.Option("--out", help="A directory for interventions.json and ppl.png.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Hold each language's neurons at a value and measure, beside as many random ones."""
    from saltjax import api

    record = api.neurons_intervene(
        model, found, tasks, text=text or (), data=data, limit=limit, hold=values, controls=controls, seed=seed,
        seq_len=seq_len, dtype=dtype, batch_size=batch_size, out=out, overwrite=overwrite, progress=line,
    )  # fmt: skip

    warn(losses({name: task["plain"] for name, task in record["tasks"].items()}))

    def show(console: Console) -> None:
        if ppl := record.get("ppl"):
            console.print(_perplexities(ppl))
        for name, task in record["tasks"].items():
            console.print(_answers(name, task))

    emit(record, as_json, show)


@neurons.command()
def tune(
    model: Model,
    run: Annotated[Path, typer.Argument(help="The run's directory; an existing one is resumed.")],
    found: Annotated[Path, typer.Argument(metavar="NEURONS", help="What `neurons find` wrote.")],
    languages: Annotated[str, typer.Argument(metavar="LANG", help="vi; en,vi for both; random:vi for as many others.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, e.g. steps=300 lora.rank=16.")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", help="Examples as for finetune: [NAME=]FILE..., JSON lines.")
    ] = None,
    text: Annotated[list[str] | None, typer.Option("--text", help="Or text as for adapt: FILE...")] = None,
    valid: Annotated[list[str] | None, typer.Option("--valid", help="Held out: FILE or NAME=FILE.")] = None,
    full_rank: Annotated[
        bool, typer.Option("--full-rank", help="The neurons themselves learn; by default adapters of them (LoRA).")
    ] = False,
    config: Annotated[Path | None, typer.Option("--config", help="A YAML file of settings.")] = None,
    as_json: Json = False,
) -> None:
    """Train the neurons of a language and nothing else, by masked LoRA or full-rank.

    It is `saltjax finetune` (or `adapt`) with trainable=lora:NEURONS@LANG (or neurons:NEURONS@LANG); docs/neurons.md.
    """
    from saltjax import api
    from saltjax.cli.reading import Reading

    with Reading() as reading:
        record = api.neurons_tune(
            model, run, found, languages, data=data or (), text=text or (), valid=valid or (), full_rank=full_rank,
            config=config, overrides=settings or (), progress=reading,
        )  # fmt: skip
    report_run(record, as_json, True, " of the answers" if data else "")


def _perplexities(ppl: dict[str, Any]) -> Table:
    table = Table("perplexity", *ppl["plain"], box=None)
    table.add_row("as it is", *(f"{value:.2f}" for value in ppl["plain"].values()))
    for own in ppl["held"]:
        table.add_row(f"{own}'s neurons held", *(f"{value:+.3f}" for value in ppl["change"][own].values()))
        table.add_row("  as many random ones", *(f"{value:+.3f}" for value in ppl["control_change"][own].values()))
    return table


def _answers(name: str, task: dict[str, Any]) -> Table:
    metric = next(iter(task["plain"]))
    table = Table(name, metric, "95 % interval", box=None)
    rows = [("as it is", task["plain"]), ("neurons held", task["held"])]
    for label, one in [*rows, *(("random ones held", one) for one in task["controls"])]:
        low, high = one["interval"] or (float("nan"), float("nan"))
        table.add_row(label, f"{one[metric]:.3f}", f"{low:.3f} to {high:.3f}")
    return table
