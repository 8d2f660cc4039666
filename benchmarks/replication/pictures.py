"""Convergence curves: a column a language, its own text above and English below, a band of one deviation over seeds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from arms import OWN
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tables import Record, chosen

COLOURS = {
    "salt": "#d1495b",
    "salt:neighbours=plm": "#edae49",
    "kernel-ridge": "#2e933c",
    "gaussian": "#1b6ca8",
    "focus": "#6a4c93",
    "ofa": "#00a6a6",
    OWN: "#222222",
}
OTHERS = "#bbbbbb"


def curves(path: Path, records: Sequence[Record], methods: Sequence[str]) -> Path:
    """The methods that SALT's paper compares, and ours, in colours; the others grey."""
    languages = sorted({one["language"] for one in records})
    figure = Figure(figsize=(3.4 * len(languages) + 1.6, 5.6), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(languages), squeeze=False, sharex=True)
    for column, language in enumerate(languages):
        for row, text in enumerate((language, "en")):
            axes = grid[row, column]
            for method in sorted(methods, key=lambda name: name in COLOURS):
                _curve(axes, list(chosen(records, language=language, plm="bert", method=method).values()), text, method)
            axes.set_title({"en": f"English, adapted to {language}"}.get(text, text), fontsize=9)
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
    for row in grid:
        row[0].set_ylabel("bits per byte")
    for axes in grid[-1]:
        axes.set_xlabel("optimizer step")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
    figure.savefig(path, pil_kwargs={"optimize": True})
    return path


def _curve(axes: Axes, records: Sequence[Record], text: str, method: str) -> None:
    if not records:
        return
    steps = [step for step, _ in records[0]["bits_per_byte"][text]]
    values = np.array([[value for _, value in one["bits_per_byte"][text]] for one in records])
    colour = COLOURS.get(method, OTHERS)
    name = "the other methods" if colour == OTHERS else method
    known = name in axes.get_legend_handles_labels()[1]
    axes.plot(steps, values.mean(0), color=colour, linewidth=1.5, label=None if known else name)
    if len(values) > 1:
        spread = values.std(0, ddof=1)
        axes.fill_between(steps, values.mean(0) - spread, values.mean(0) + spread, color=colour, alpha=0.2, linewidth=0)
