"""saltjax inspect SOURCE TARGET"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from saltjax.cli.output import Json, emit, rows, warn
from saltjax.cli.transfer import Alignments, Aux, AuxText, Dictionary, Fuzzy, Parallel, Source, SourceAux, Target

SHOWN = ("r2", "cosine")  # with half their 95 % interval


def inspect(
    source: Source,
    target: Target,
    aux: Aux = None,
    aux_text: AuxText = None,
    fuzzy: Fuzzy = False,
    scores: Annotated[
        bool, typer.Option("--scores", help="Hide shared tokens and score how well each method predicts their rows.")
    ] = False,
    methods: Annotated[
        str, typer.Option(metavar="NAME,...", help="Score these alone; NAME:KEY=VALUE gives one an option.")
    ] = "",
    text: Annotated[
        list[Path] | None,
        typer.Option("--text", help="With --scores: bits per byte before training on this FILE, and its frequencies."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="With --scores: draw them as bars.")
    ] = None,
    dictionary: Dictionary = None,
    source_aux: SourceAux = None,
    parallel: Parallel = None,
    alignments: Alignments = None,
    seed: Annotated[int, typer.Option(help="Of what is held out, and of random methods.")] = 0,
    as_json: Json = False,
) -> None:
    """Look before a transfer: what the two vocabularies share and what can be fitted. Writes nothing.

    With --scores every method is compared, before any training, on shared tokens that are hidden from it. Without
    --aux or --aux-text the neighbours are those of the PLM's own space.
    """
    from saltjax import api
    from saltjax.transfer.workers import ask_for_cores

    ask_for_cores()
    with Console(stderr=True).status("reading") as status:
        record = api.inspect(
            source,
            target,
            aux=aux,
            aux_text=aux_text or (),
            fuzzy=fuzzy,
            dictionary=dictionary,
            source_aux=source_aux,
            parallel=parallel,
            alignments=alignments,
            scores=scores or bool(methods) or plot is not None,
            methods=[name for name in methods.split(",") if name],
            text=text or (),
            plot=plot,
            seed=seed,
            progress=lambda name: status.update(f"scored {name}"),
        )
    warn(record["warnings"])

    def show(console: Console) -> None:
        tokens, fertility = record["tokens"], record["fertility"]
        rows(
            console,
            ("target tokens", f"{tokens['total']:,}"),
            ("shared", f"{tokens['copied']:,}"),
            ("to be fitted", f"{tokens['fitted']:,}"),
            ("special", f"{tokens['special']:,}"),
            ("fallback", f"{tokens['fallback']:,}"),
            ("coverage", f"{record['coverage']:.1%}  (tokens with a copied or fitted row)"),
            ("anchors", f"{record['anchors']:,}"),
            (
                "tokens a word",
                f"{fertility['source']:.2f} now, {fertility['target']:.2f} after  (on {fertility['text']})",
            ),
        )
        if "scores" in record:
            _show_scores(console, record)

    emit(record, as_json, show)


def _show_scores(console: Console, record: dict[str, Any]) -> None:
    found, step0 = record["scores"], record.get("step0", {})
    held = next(iter(found.values()))["n"] if found else 0
    table = Table(title=f"{held:,} held-out shared tokens: rows predicted, against their own", title_justify="left")
    for name in ("method", "R²", "cosine", "MRR", "first", "length", "as new", *(["bits/byte"] if step0 else [])):
        table.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
    for name, s in found.items():
        table.add_row(
            name,
            *(f"{s[score]:.3f} ±{(s['interval'][score][1] - s['interval'][score][0]) / 2:.2f}" for score in SHOWN),
            f"{s['mrr']:.3f}",
            f"{s['hit1']:.1%}",
            f"{s['norm_ratio']:.2f}",
            f"{s['weighted']['r2']:.3f}",
            *([f"{step0[name]['bits_per_byte']:.3f}"] if step0 else []),
        )
    console.print(table)
    shift = record["shift"]
    console.print(
        "[dim]first: the true row is the nearest. length: of the predicted rows, true ones 1. as new: R², tokens "
        "weighted to the new tokens' lengths and word starts "
        f"(words begin with {shift['word_start']['held_out']:.0%} of held-out and {shift['word_start']['new']:.0%} of "
        "new tokens). See docs/scores.md.[/dim]"
    )
    for name, why in record["skipped"].items():
        console.print(f"[dim]not scored: {name}: {why}[/dim]")
