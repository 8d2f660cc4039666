"""saltjax vocab prune TARGET OUT"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from saltjax.cli.output import Json, emit, rows, warn

vocab = typer.Typer(help="Tools for vocabularies.", no_args_is_help=True, rich_markup_mode="markdown")


@vocab.callback()
def common() -> None:
    pass


@vocab.command()
def prune(
    target: Annotated[str, typer.Argument(help="The PLM: a local directory or a hub id.")],
    out: Annotated[Path, typer.Argument(help="The smaller model's directory.")],
    text: Annotated[list[Path], typer.Option("--text", help="Text of the target language (FILE...).")],
    coverage: Annotated[float, typer.Option(help="Share of the text's tokens to keep as they are.")] = 0.9999,
    size: Annotated[int | None, typer.Option(help="Or the number of tokens to keep.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Reduce TARGET's vocabulary to what a text needs; the result is a TARGET for `saltjax transfer`. Example:

    saltjax vocab prune FacebookAI/xlm-roberta-base xlmr-sw --text sw.txt
    """
    from saltjax import api

    record = api.vocab_prune(target, out, text=text, coverage=coverage, size=size, overwrite=overwrite)
    warn(record["warnings"])

    def show(console: Console) -> None:
        tokens, before, after = record["tokens"], record["text"]["before"], record["text"]["after"]
        rows(
            console,
            ("tokens", f"{tokens['before']:,} before, {tokens['after']:,} after"),
            ("coverage", f"{record['coverage']:.4%}  of the text's tokens are kept"),
            ("tokens a word", f"{before['fertility']:.3f} before, {after['fertility']:.3f} after"),
            ("unknown", f"{before['unknown']:.3%} before, {after['unknown']:.3%} after"),
            ("written", record["out"]),
        )

    emit(record, as_json, show)
