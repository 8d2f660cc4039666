"""The curves of a run as pictures, drawn from its metrics.jsonl."""

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
        if name:
            axes.annotate(
                f"{name} {points[-1][1]:.3g}", points[-1], xytext=(6, 0), textcoords="offset points",
                color=colour, va="center", fontsize=9, annotation_clip=False,
            )  # fmt: skip
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=9)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(label)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02)
    figure.savefig(path)
    return path
