"""The numbers of a study as tables: (title, remark, header, rows) of text, for Markdown and for the page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

LABELS = ("model", "length", "setting", "group")


class Table(NamedTuple):
    title: str
    remark: str
    header: list[str]
    rows: list[list[str]]


def tables(found: dict[str, Any]) -> Iterator[Table]:
    """All tables of an analysis, task after task."""
    for task in found["metrics"]:
        curves = [one for one in found["curves"] if one["task"] == task]
        if curves:
            yield _averages(found, task, curves)
            yield _whole(found, task, curves)
            yield _languages(found, task, curves)
            if task in found["factors"]:
                yield from _factors(task, found["factors"][task])
    if found["contrasts"]:
        yield _contrasts(found["contrasts"])


def markdown(found: dict[str, Any]) -> str:
    parts = []
    for table in tables(found):
        lines = [f"### {table.title}", "", *([table.remark, ""] if table.remark else [])]
        lines += [_row(table.header), "|" + "---|" * len(table.header), *map(_row, table.rows)]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _averages(found: dict[str, Any], task: str, curves: Sequence[dict[str, Any]]) -> Table:
    labels, languages = varying(curves), found["languages"]
    core, unseen = languages["core"], ", ".join(languages["unseen"])
    header = [
        *labels,
        "rows a language",
        *([core] if core else []),
        "seen",
        "unseen",
        "gap",
        "transfer",
        "wrong language",
    ]
    rows = []
    for curve in curves:
        for point in curve["points"]:
            cells = [point["core"]] if core else []
            cells += [point["seen"], point.get("unseen"), point.get("gap"), point.get("transfer")]
            wrong = point.get("wrong_unseen")
            rows.append(
                [
                    *(curve[label] for label in labels),
                    f"{point['budget']:,}",
                    *map(number, cells),
                    f"{wrong['value']:.0%}" if wrong else "",
                ]
            )
    remark = (
        f"Metric: {found['metrics'][task]}, 0 to 1; means with 95 % intervals over {len(found['seeds'])} seeds. "
        f"Seen: the languages of the group; unseen: {unseen or 'none'}. Transfer: the unseen languages' gain since 0 "
        "rows over the seen ones', empty where the latter cannot be told from 0. Wrong language: of the answers in "
        "unseen languages."
    )
    return Table(f"{task}: averages", remark, header, rows)


def _whole(found: dict[str, Any], task: str, curves: Sequence[dict[str, Any]]) -> Table:
    labels = varying(curves)
    rows = [
        [
            *(curve[label] for label in labels),
            *("" if (n := curve["plateau"].get(kind)) is None else f"{n:,}" for kind in ("seen", "unseen")),
            "" if curve["correlation"] is None else f"{curve['correlation']:.2f}",
            str(curve["seeds"]),
        ]
        for curve in curves
    ]
    remark = (
        "Plateau: the fewest rows a language whose mean is within one standard error of the best. "
        "r: Pearson's correlation of the seen and the unseen average along the budgets."
    )
    header = [*labels, "plateau, seen", "plateau, unseen", "r, seen and unseen", "seeds"]
    return Table(f"{task}: plateaus", remark, header, rows)


def _languages(found: dict[str, Any], task: str, curves: Sequence[dict[str, Any]]) -> Table:
    labels = varying(curves)
    languages = list(curves[0]["points"][0]["scores"])
    rows = [
        [
            *(curve[label] for label in labels),
            f"{point['budget']:,}",
            *(number(point["scores"][language]) for language in languages),
        ]
        for curve in curves
        for point in curve["points"]
    ]
    return Table(f"{task}: every language", "", [*labels, "rows a language", *languages], rows)


def _factors(task: str, found: dict[str, Any]) -> Iterator[Table]:
    if anova := found["anova"]:
        rows = [
            [
                name,
                f"{one['df']:.0f}",
                f"{one['share']:.1%}",
                "" if one["F"] is None else f"{one['F']:.1f}",
                _p(one["p"]),
            ]
            for name, one in sorted(anova.items(), key=lambda item: (item[0] == "Residual", -item[1]["share"]))
        ]
        remark = (
            "Analysis of variance (type II) of all scores of the task; share: of the sum of squares, beyond what the "
            "other factors explain."
        )
        yield Table(f"{task}: which factors matter", remark, ["factor", "df", "share", "F", "p"], rows)
    if mixed := found["mixed"]:
        rows = [
            [name, f"{one['effect']:+.4f} ({one['interval'][0]:+.4f} to {one['interval'][1]:+.4f})", _p(one["p"])]
            for name, one in mixed.items()
        ]
        spread = found["deviations"]
        remark = (
            "Mixed model: effects on the score, with a random intercept for each run "
            f"(deviation between runs {spread['run']:.4f}, within them {spread['rest']:.4f})."
        )
        yield Table(f"{task}: effects", remark, ["effect", "size (95 %)", "p"], rows)


def _contrasts(found: Sequence[dict[str, Any]]) -> Table:
    rows = [
        [
            one["at"]["task"],
            f"{one['to']} less {one['from']}",
            ", ".join(str(one["at"][name]) for name in LABELS if name in one["at"]),
            f"{one['budget']:,}",
            number(one.get("seen")),
            number(one.get("unseen")),
        ]
        for one in found
    ]
    header = ["task", "difference", "where", "rows a language", "seen", "unseen"]
    return Table("What else makes a difference", "At the largest budget, seeds paired.", header, rows)


def varying(curves: Sequence[Mapping[str, Any]]) -> list[str]:
    """The labels in which the curves differ."""
    return [name for name in LABELS if len({curve[name] for curve in curves}) > 1]


def number(found: dict[str, Any] | None) -> str:
    """`0.312 (0.290 to 0.331)`; empty for None."""
    if found is None:
        return ""
    text = f"{found['value']:.3f}"
    return text + (f" ({found['interval'][0]:.3f} to {found['interval'][1]:.3f})" if found["interval"] else "")


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
