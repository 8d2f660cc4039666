"""saltjax inspect SOURCE TARGET"""

from rich.console import Console

from saltjax.cli.output import Json, emit, rows, warn
from saltjax.cli.transfer import Aux, AuxText, Fuzzy, Source, Target


def inspect(
    source: Source,
    target: Target,
    aux: Aux = None,
    aux_text: AuxText = None,
    fuzzy: Fuzzy = False,
    as_json: Json = False,
) -> None:
    """Look before a transfer: what the two vocabularies share and what can be fitted. Writes nothing.

    Without --aux or --aux-text the neighbours are those of the PLM's own space.
    """
    from saltjax import api

    record = api.inspect(source, target, aux=aux, aux_text=aux_text or (), fuzzy=fuzzy)
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

    emit(record, as_json, show)
