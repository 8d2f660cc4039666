"""saltjax transfer SOURCE TARGET OUT"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from saltjax.cli.output import Json, emit, rows, warn

Source = Annotated[str, typer.Argument(help="The LLM: a local directory or a hub id.")]
Target = Annotated[str, typer.Argument(help="The PLM whose vocabulary it gets: a local directory or a hub id.")]
Aux = Annotated[Path | None, typer.Option("--aux", help="fastText vectors of the target language, .bin or .vec.")]
AuxText = Annotated[
    list[Path] | None, typer.Option("--aux-text", help="Or text of the target language (FILE...) to train them on.")
]
Neighbours = Annotated[
    str | None, typer.Option(help="Where neighbours are sought: aux (the paper) or plm (the PLM's rows).")
]
Fuzzy = Annotated[bool, typer.Option("--fuzzy", help="Also match tokens that differ in case or word start only.")]

Text = Annotated[
    list[Path] | None, typer.Option("--text", help="Text of the target language (FILE...) in which tokens are counted.")
]
Dictionary = Annotated[
    Path | None,
    typer.Option("--dictionary", metavar="FILE", help="Words of both languages, SOURCE's first: more anchors."),
]
SourceAux = Annotated[
    Path | None, typer.Option("--source-aux", metavar="FILE", help="fastText vectors of SOURCE's language.")
]
Parallel = Annotated[
    Path | None, typer.Option("--parallel", metavar="FILE", help="Parallel text, source ||| target, and its word ...")
]
Alignments = Annotated[
    Path | None, typer.Option("--alignments", metavar="FILE", help="... alignments, from eflomal or fast_align.")
]


def transfer(
    source: Source,
    target: Target,
    out: Annotated[Path, typer.Argument(help="The new model's directory.")],
    aux: Aux = None,
    aux_text: AuxText = None,
    method: Annotated[
        str, typer.Option(help="How new rows are made: see docs/methods.md; auto takes the best here.")
    ] = "salt",
    head: Annotated[
        str, typer.Option(help="Rows of an untied head: auto (same), same, rerun, map or scale; see docs/heads.md.")
    ] = "auto",
    bias: Annotated[str, typer.Option(help="The head's bias: mixed, zero or unigram (which needs --text).")] = "mixed",
    norms: Annotated[str, typer.Option(help="Lengths of new rows: keep or calibrate.")] = "keep",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="A setting of the method; can be given again."),
    ] = None,
    neighbours: Neighbours = None,
    fuzzy: Fuzzy = False,
    dictionary: Dictionary = None,
    source_aux: SourceAux = None,
    parallel: Parallel = None,
    alignments: Alignments = None,
    text: Text = None,
    expand: Annotated[
        bool, typer.Option("--expand", help="Append TARGET's tokens to SOURCE's, those that occur in --text if given.")
    ] = False,
    expand_size: Annotated[
        int | None, typer.Option("--expand-size", metavar="N", help="The N of them that save most tokens in --text.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Replace the vocabulary of SOURCE by that of TARGET and give every new token an embedding.

    Tokens that both vocabularies have keep their rows. Each other token's row is a combination of the rows of its
    neighbours among them, fitted in TARGET's embedding (SALT, arXiv 2505.10945). Everything else is copied bit for
    bit. Example:

    saltjax transfer meta-llama/Llama-3.2-1B deepset/gbert-base llama-de --aux cc.de.300.bin
    """
    from saltjax import api
    from saltjax.transfer.workers import ask_for_cores

    ask_for_cores()
    record = api.transfer(
        source,
        target,
        out,
        aux=aux,
        aux_text=aux_text or (),
        method=method,
        options=_pairs(option or ()),
        head=head,
        bias=bias,
        norms=norms,
        text=text or (),
        expand=expand,
        expand_size=expand_size,
        neighbours=neighbours,
        fuzzy=fuzzy,
        dictionary=dictionary,
        source_aux=source_aux,
        parallel=parallel,
        alignments=alignments,
        seed=seed,
        overwrite=overwrite,
    )
    warn(record["warnings"])

    def show(console: Console) -> None:
        tokens, k = record["tokens"], record["k"]
        rows(
            console,
            ("tokens", f"{tokens['total']:,}"),
            ("copied", f"{tokens['copied']:,}  (rows of the same surface, bit for bit)"),
            ("fitted", f"{tokens['fitted']:,}  ({record['method']}, {record['anchors']:,} anchors)"),
            ("chosen, as", record.get("auto", {}).get("why")),
            ("translated", record["translated"] and f"{record['translated']:,}  (copied anchors of the dictionary)"),
            ("special", f"{tokens['special']:,}  (by role)"),
            ("fallback", f"{tokens['fallback']:,}  (random: nothing describes them)"),
            ("neighbours", k and f"median {k['median']}, 90 % below {k['p90']}, at most {k['max']}"),
            ("seconds", f"{record['seconds']:.1f}"),
            ("written", record["out"]),
        )

    emit(record, as_json, show)


def _pairs(options: Sequence[str]) -> dict[str, str]:
    from saltjax.errors import UserError

    wrong = [option for option in options if "=" not in option]
    if wrong:
        raise UserError(f"--option {wrong[0]} must be KEY=VALUE")
    return dict(option.split("=", 1) for option in options)
