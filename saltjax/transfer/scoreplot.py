"""Held-out scores of methods as a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = {"r2": "#1b6ca8", "cosine": "#edae49"}
LABELS = {"r2": "R², share of the rows' variance", "cosine": "cosine to the true row"}
LOWEST = -0.5  # R² has no lower end


def bars(path: Path, scores: Mapping[str, Mapping[str, Any]]) -> Path:
    """R² and cosine of each method with their 95 % intervals, the best on top."""
    figure = Figure(figsize=(8, 1.2 + 0.4 * len(scores)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, (name, colour) in enumerate(COLOURS.items()):
        values = [max(LOWEST, found[name]) for found in scores.values()]
        ends = [[max(LOWEST, end) for end in found["interval"][name]] for found in scores.values()]
        errors = [
            [max(0.0, value - low) for value, (low, _) in zip(values, ends, strict=True)],
            [max(0.0, high - value) for value, (_, high) in zip(values, ends, strict=True)],
        ]
        places = [row + 0.4 * number - 0.2 for row in range(len(scores))]
        axes.barh(places, values, 0.36, xerr=errors, color=colour, label=LABELS[name], error_kw={"lw": 1})
    axes.set_yticks(range(len(scores)), list(scores))
    axes.invert_yaxis()
    axes.axvline(0, color="black", lw=0.8)
    axes.set_xlabel(f"held-out source rows, predicted (values below {LOWEST} are cut)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)
    return path
