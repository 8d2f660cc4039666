"""Curves of a study: scores of seen and unseen languages against rows a language, as SVG for the page or PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from saltjax.report.pictures import COLOURS, INK, STYLE, svg
from saltjax.study.tables import varying

KINDS: dict[str, tuple[str, Any]] = {"core": ("core language", ":"), "seen": ("seen", "-"), "unseen": ("unseen", "--")}


def task_picture(task: str, metric: str, curves: Sequence[Mapping[str, Any]]) -> str:
    """One panel of all curves of a task, as an <svg> element."""
    with matplotlib.rc_context(STYLE):
        return svg(_figure([(task, metric, curves)]), f"{task}: {metric} against rows a language")


def all_pictures(path: Path, found: Mapping[str, Any]) -> None:
    """A panel a task, as a PNG on white."""
    panels = [
        (task, metric, [one for one in found["curves"] if one["task"] == task])
        for task, metric in found["metrics"].items()
    ]
    ink = {key: "#1b1f24" if value == INK else value for key, value in STYLE.items()}
    with matplotlib.rc_context(ink):
        _figure([panel for panel in panels if panel[2]]).savefig(path, dpi=120, facecolor="white")


def _figure(panels: Sequence[tuple[str, str, Sequence[Mapping[str, Any]]]]) -> Figure:
    """Colours are curves, line styles kinds of languages; the budgets are evenly spaced, bands are 95 % over seeds."""
    figure = Figure(figsize=(1 + 3.9 * len(panels), 3.6), layout="constrained")
    handles: dict[str, Any] = {}
    for axes, (task, metric, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        labels = varying(curves)
        budgets = [point["budget"] for point in curves[0]["points"]]
        for number, curve in enumerate(curves):
            name = ", ".join(curve[label] for label in labels) or task
            for kind, (_, style) in KINDS.items():
                points = [(at, point[kind]) for at, point in enumerate(curve["points"]) if point.get(kind)]
                if not points:
                    continue
                x, values = [at for at, _ in points], [one["value"] for _, one in points]
                colour = COLOURS[number % len(COLOURS)]
                (line,) = axes.plot(x, values, style, color=colour, marker="o", markersize=3, linewidth=1.6)
                if kind == "seen":
                    handles.setdefault(name, line)
                if all(one["interval"] for _, one in points) and kind != "core":
                    low, high = zip(*(one["interval"] for _, one in points), strict=True)
                    axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.set_xticks(range(len(budgets)), [f"{budget:,}" for budget in budgets])
        axes.set_xlabel("rows a language")
        axes.set_ylabel(f"{task}: {metric}")
        axes.grid(alpha=0.25, color=matplotlib.rcParams["axes.edgecolor"])
    styles = [
        matplotlib.lines.Line2D([], [], color=matplotlib.rcParams["axes.edgecolor"], linestyle=style)
        for _, style in KINDS.values()
    ]
    figure.legend(
        [*handles.values(), *styles],
        [*handles, *(label for label, _ in KINDS.values())],
        frameon=False,
        ncols=4,
        fontsize=8,
        loc="outside upper center",
    )
    return figure
