"""saltjax layers find, questions"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from saltjax.cli.neurons import BatchSize, Dtype, Model, Overwrite, SeqLen, Text, Tokens
from saltjax.cli.output import Json, emit
from saltjax.cli.passing import Passing
from saltjax.errors import UserError

layers = typer.Typer(help="The few layers that handle many languages.", no_args_is_help=True, add_completion=False)


@layers.callback()
def common() -> None:
    pass


@layers.command()
def find(
    model: Model,
    out: Annotated[Path, typer.Argument(help="A directory for layers.json and layers.png.")],
    text: Text = None,
    rule: Annotated[str, typer.Option(help="prefix, top or manual.")] = "prefix",
    count: Annotated[int | None, typer.Option(help="How many layers, for prefix and top.")] = None,
    manual: Annotated[str, typer.Option("--layers", help="0,1,2 for --rule manual.")] = "",
    share: Annotated[
        float, typer.Option(help="A neuron is activated where it is above 0 for more than this share of the tokens.")
    ] = 0.5,
    tokens: Tokens = None,
    seq_len: SeqLen = None,
    dtype: Dtype = None,
    batch_size: BatchSize = 16,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Find the layers whose activated neurons differ most between languages, on parallel text (one language is en)."""
    from saltjax import api

    with Passing() as passing:
        record = api.layers_find(
            model, out, text=text or (), rule=rule, count=count, layers=_numbers(manual), share=share, tokens=tokens,
            seq_len=seq_len, dtype=dtype, batch_size=batch_size, overwrite=overwrite, reading=passing.reading,
            progress=passing,
        )  # fmt: skip

    def show(console: Console) -> None:
        table = Table("layer", "dispersion", *(f"{one} in en" for one in record["overlap"]), "", box=None)
        for layer, value in enumerate(record["dispersion"]):
            overlaps = (f"{values[layer]:.2f}" for values in record["overlap"].values())
            table.add_row(str(layer), f"{value:,.1f}", *overlaps, "chosen" if layer in record["layers"] else "")
        console.print(table)
        console.print(f"to train exactly these: {record['trainable']}", markup=False, soft_wrap=True)

    emit(record, as_json, show)


@layers.command()
def questions(
    out: Annotated[Path, typer.Argument(help="A file of JSON lines for `saltjax finetune`.")],
    files: Annotated[list[str], typer.Argument(metavar="LANG=FILE...", help="Parallel problems, one a line.")],
    field: Annotated[str, typer.Option(help="Of JSON lines: where the problem is.")] = "question",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make translation data for SLAM (configs/slam.yaml) and QAlign: problems of a language to be put into English.

    With en=FILE, line i of all files is the same problem (first column, or --field); else a line of a file is English,
    tab, the translation. Example:

    saltjax layers questions questions.jsonl en=mgsm_en.tsv de=mgsm_de.tsv sw=mgsm_sw.tsv
    """
    from saltjax import api

    record = api.layers_questions(out, files, field=field, overwrite=overwrite)

    def show(console: Console) -> None:
        table = Table("language", "examples", "left out", box=None)
        for language, count in record["examples"].items():
            table.add_row(language, f"{count:,}", f"{record['left_out'][language]:,}")
        console.print(table)

    emit(record, as_json, show)


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",") if word]
    except ValueError:
        raise UserError(f"--layers {text}: expected layer numbers, as in 0,1,-1") from None
