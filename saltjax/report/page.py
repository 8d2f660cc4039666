"""One self-contained HTML page: tables and SVG, no scripts, nothing fetched from anywhere."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import saltjax
from saltjax.report.facts import ORIGINS, by_role, by_script, distributions, lists, overlap, quantiles
from saltjax.report.gather import Found, Run, Token, Transfer
from saltjax.report.pictures import curves_picture, histogram, overlap_picture, scores_picture

TEMPLATE = Path(__file__).with_name("page.html")
LABELS = {"k": "neighbours (k)", "residual": "unexplained share of the PLM's row", "norm": "norm of the new row"}


def page(found: Found, title: str, chosen: Sequence[str], json_name: str) -> str:
    """The page. `chosen`: surfaces of tokens to list; `json_name`: where the numbers lie, for the last line."""
    parts = [
        *_side_by_side(found.transfers),
        *_curves(found.runs),
        *(section for name, scores in found.scores.items() for section in _scores(name, scores)),
        *(section for transfer in found.transfers for section in _transfer(transfer, list(chosen))),
    ]
    return filled(title, "\n".join(parts), json_name)


def filled(title: str, body: str, json_name: str) -> str:
    """The template with a body of HTML."""
    text = Template(TEMPLATE.read_text(encoding="utf-8"))
    fields = {"title": title, "version": saltjax.__version__, "json": json_name}
    return text.substitute({key: escape(value) for key, value in fields.items()}, body=body)


def _side_by_side(transfers: Sequence[Transfer]) -> Iterator[str]:
    if len(transfers) < 2:
        return
    yield "<h2>Transfers</h2>"
    rows = []
    for one in transfers:
        counts, norms = one.record["tokens"], distributions(one.tokens)["norm"]
        middle = [f"{quantiles(norms[origin])['median']:.3f}" if origin in norms else "" for origin in ORIGINS[:2]]
        numbers = [f"{counts[origin]:,}" for origin in ORIGINS]
        rows.append([one.name, one.record["method"], *numbers, f"{one.record['anchors']:,}", *middle])
    yield table(["", "method", *ORIGINS, "anchors", "median norm, copied", "fitted"], rows)


def _transfer(transfer: Transfer, chosen: list[str]) -> Iterator[str]:
    record, tokens = transfer.record, transfer.tokens
    settings, counts = record["settings"], record["tokens"]
    yield f"<h2>{escape(transfer.name)}: {escape(record['method'])}</h2>"
    yield (
        f"<p><code>{escape(str(settings['source']))}</code> with the vocabulary of "
        f"<code>{escape(str(settings['target']))}</code>; {record['anchors']:,} anchors.</p>"
    )
    if warnings := record.get("warnings"):
        yield '<ul class="warnings">' + "".join(f"<li>{escape(one)}</li>" for one in warnings) + "</ul>"
    order = ("total", "copied", "fitted", "special", "fallback")
    yield table(["target tokens", *order[1:]], [[f"{counts[name]:,}" for name in order]])
    for kind, group in (("script", by_script), ("role", by_role)):
        counted = overlap(tokens, group)
        yield f"<h3>Overlap by {kind}</h3>"
        yield overlap_picture(counted, kind)
        yield table([kind, *ORIGINS], [[name, *(f"{row[o]:,}" for o in ORIGINS)] for name, row in counted.items()])
    values = {name: by_origin for name, by_origin in distributions(tokens).items() if by_origin}
    yield "<h3>Rows</h3>"
    yield '<div class="row">' + "".join(histogram(LABELS[name], some) for name, some in values.items()) + "</div>"
    rows = [
        [LABELS[name], origin, f"{len(some):,}", *(f"{value:.3g}" for value in quantiles(some).values())]
        for name, by_origin in values.items()
        for origin, some in by_origin.items()
    ]
    yield table(["", "origin", "tokens", "5 %", "25 %", "median", "75 %", "95 %", "mean"], rows)
    for name, some in lists(tokens, chosen).items():
        yield f"<h3>Tokens: {escape(name)}</h3>"
        yield _tokens(some)


def _tokens(tokens: Sequence[Token]) -> str:
    rows = [
        [
            str(one.id),
            one.surface or one.token,
            one.origin,
            "" if one.k is None else str(one.k),
            "" if one.residual is None else f"{one.residual:.3f}",
            f"{one.norm:.3f}",
            "  ".join(one.nearest),
        ]
        for one in tokens
    ]
    return table(["id", "token", "origin", "k", "residual", "norm", "nearest source tokens"], rows)


def _scores(name: str, scores: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield f"<h2>Held-out scores: {escape(name)}</h2>"
    held = next(iter(scores.values()))["n"] if scores else 0
    yield (
        f'<p class="note">{held:,} shared tokens were hidden and their source rows predicted. '
        "R²: share of the rows' variance that is explained; lines are 95 % intervals over tokens.</p>"
    )
    yield scores_picture(scores, "r2", "R² of held-out rows")
    rows = [
        [
            method,
            *(
                f"{one[key]:.3f} ({one['interval'][key][0]:.3f} to {one['interval'][key][1]:.3f})"
                for key in ("r2", "cosine")
            ),
            f"{one['mrr']:.3f}",
            f"{one['hit1']:.1%}",
            f"{one['norm_ratio']:.2f}",
            f"{one['silent']:.1%}",
        ]
        for method, one in scores.items()
    ]
    yield table(["method", "R² (95 %)", "cosine (95 %)", "MRR", "true row first", "length", "silent"], rows)


def _curves(runs: Sequence[Run]) -> Iterator[str]:
    if not runs:
        return
    yield "<h2>Runs</h2>"
    for text in dict.fromkeys(text for run in runs for text in run.bits_per_byte):
        curves = {run.name: run.bits_per_byte[text] for run in runs if text in run.bits_per_byte}
        yield f"<h3>Held-out text: {escape(text)}</h3>"
        yield curves_picture("bits per byte", curves)
        rows = [
            [
                name,
                f"{points[0][1]:.4f}",
                f"{points[-1][1]:.4f}",
                f"{min(value for _, value in points):.4f}",
                f"{points[-1][0]:,}",
            ]
            for name, points in curves.items()
        ]
        yield table(["run", "first", "last", "lowest", "steps"], rows)
    if losses := {run.name: run.loss for run in runs if run.loss}:
        yield "<h3>Training loss</h3>"
        yield '<p class="note">In nats a token: not to be compared between vocabularies.</p>'
        yield curves_picture("nats a token", losses)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are text (escaped here, each in its own writing direction); numbers are set flush right."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    number = text[:1].isdigit() or (text[:1] == "-" and text[1:2].isdigit())
    return f"<td class='n'>{escape(text)}</td>" if number else f"<td><bdi>{escape(text)}</bdi></td>"
