"""The curves of a run as pictures, drawn from its metrics.jsonl."""

import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from saltjax.train import metrics

COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#edae49", "#6a4c93", "#5c5c5c")


def draw(run: Path) -> list[Path]:
    """Write plots/{loss,bits_per_byte,learning_rate,grad_norm,speed}.png of what there is; return what was written."""
    lines = metrics.read(run / "metrics.jsonl")
    training = [line for line in lines if "loss" in line]
    valid = [line for line in lines if line.get("bits_per_byte")]
    pictures: list[tuple[str, str, dict[str, list[tuple[int, float]]]]] = []
    for name, label, key in (
        ("loss", "training loss [nats per token]", "loss"),
        ("learning_rate", "learning rate", "learning_rate"),
        ("grad_norm", "gradient norm before clipping", "grad_norm"),
        ("speed", "speed [target tokens per second]", "tokens_per_second"),
    ):
        pictures.append((name, label, {"": [(line["step"], line[key]) for line in training]}))
    names = dict.fromkeys(name for line in valid for name in line["bits_per_byte"])
    curves = {
        name: [(line["step"], line["bits_per_byte"][name]) for line in valid if name in line["bits_per_byte"]]
        for name in names
    }
    pictures.append(("bits_per_byte", "held-out text [bits per byte]", curves))
    folder = run / "plots"
    folder.mkdir(exist_ok=True)
    return [curve_picture(folder / f"{name}.png", label, c) for name, label, c in pictures if any(c.values())]


def curve_picture(path: Path, label: str, curves: dict[str, list[tuple[int, float]]]) -> Path:
    """One picture of (step, value) curves; several ones, or a named one, are named at their right end."""
    figure = Figure(figsize=(7, 4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Axes = figure.subplots()
    for number, (name, points) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        few: dict[str, Any] = {"marker": "o", "markersize": 4} if len(points) <= 30 else {}
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.6, label=name, **few)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=9)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(label)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02)
    _name_ends(figure, axes, {name: points[-1] for name, points in curves.items() if name})
    figure.savefig(path)
    return path


def _name_ends(figure: Figure, axes: Axes, ends: dict[str, tuple[int, float]]) -> None:
    """Each curve's name and last value at its right end, in its colour, pushed apart where they would overlap."""
    figure.draw_without_rendering()  # settles the limits
    points_per_pixel = 72 / figure.dpi
    lowest = -math.inf
    colours = {line.get_label(): line.get_color() for line in axes.lines}
    for name, end in sorted(ends.items(), key=lambda item: item[1][1]):
        height = axes.transData.transform(end)[1] * points_per_pixel
        lowest = max(height, lowest + 11)
        axes.annotate(
            f"{name} {end[1]:.3g}", end, xytext=(6, lowest - height), textcoords="offset points",
            color=colours[name], va="center", fontsize=9, annotation_clip=False,
        )  # fmt: skip
