"""Pictures of a report as SVG text that takes its ink from the page: readable on light and on dark."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#010203"  # drawn with, then replaced by the page's own colour
COLOURS = ("#3b8fd0", "#d9822b", "#4caf6d", "#c0569b", "#8a7bd8", "#9a9a9a")  # contrast 3:1 and more on both
ORIGINS = dict(zip(("copied", "fitted", "special", "fallback"), COLOURS, strict=False))
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "saltjax",  # the same picture, the same bytes
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def overlap_picture(overlap: Mapping[str, Mapping[str, int]], kind: str) -> str:
    """Stacked bars: tokens of each script or role by origin, the eight most frequent ones."""
    shown = dict(list(overlap.items())[:8])
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(7.2, 0.9 + 0.32 * len(shown))
        left = np.zeros(len(shown))
        for origin, colour in ORIGINS.items():
            counts = np.array([by_origin[origin] for by_origin in shown.values()])
            axes.barh(range(len(shown)), counts, 0.7, left=left, color=colour, label=origin)
            left += counts
        axes.set_yticks(range(len(shown)), list(shown))
        axes.invert_yaxis()
        axes.set_xlabel("target tokens")
        axes.legend(frameon=False, ncols=len(ORIGINS), loc="lower left", bbox_to_anchor=(0, 1))
        return svg(figure, f"tokens by {kind} and origin")


def histogram(label: str, values: Mapping[str, Sequence[float]], bins: int = 40) -> str:
    """One histogram an origin, as shares of its tokens, up to the 99.5th percentile of all."""
    everything = np.concatenate([np.asarray(some) for some in values.values()])
    low, high = float(everything.min()), float(np.percentile(everything, 99.5))
    whole = bool((everything == everything.round()).all())
    edges = np.arange(low, high + 1.5) - 0.5 if whole and high - low < 100 else np.linspace(low, high or 1.0, bins + 1)
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(3.5, 2.3)
        for origin, colour in ORIGINS.items():
            if some := values.get(origin):
                weights = np.full(len(some), 1 / len(some))
                axes.hist(
                    some, edges.tolist(), weights=weights, histtype="step", color=colour, label=origin, linewidth=1.6
                )
        axes.set_xlabel(label)
        axes.set_ylabel("share of tokens")
        if len(values) > 1:
            axes.legend(frameon=False, fontsize=8)
        return svg(figure, f"distribution of {label}")


def scores_picture(scores: Mapping[str, Mapping[str, Any]], key: str, label: str) -> str:
    """A point and its 95 % interval for each method, the best on top; below -0.5 at the edge."""
    floor = -0.5
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(7.2, 0.9 + 0.26 * len(scores))
        for row, found in enumerate(scores.values()):
            low, high = (max(floor, end) for end in found["interval"][key])
            axes.plot([low, high], [row, row], color=COLOURS[0], linewidth=2)
            inside = found[key] >= floor
            axes.plot([max(floor, found[key])], [row], "o" if inside else "<", color=COLOURS[0], markersize=5)
        axes.set_yticks(range(len(scores)), list(scores))
        axes.invert_yaxis()
        axes.set_xlabel(label)
        axes.grid(axis="x", alpha=0.25, color=INK)
        return svg(figure, label)


def curves_picture(label: str, curves: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(7.2, 3.2)
        for number, (name, points) in enumerate(curves.items()):
            few: dict[str, Any] = {"marker": "o", "markersize": 3} if len(points) <= 30 else {}
            style = "-" if number < len(COLOURS) else "--"
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(*zip(*points, strict=True), style, color=colour, linewidth=1.6, label=name, **few)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel(label)
        axes.grid(alpha=0.25, color=INK)
        axes.legend(frameon=False, fontsize=8)
        return svg(figure, label)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots()


def svg(figure: Figure, title: str) -> str:
    """The <svg> element alone, named for who cannot see it."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Title": title})
    found = text.getvalue()
    found = found[found.index("<svg") :].replace(INK, "currentColor")
    return found.replace("<svg ", '<svg role="img" ', 1)
