"""The curves of a run as pictures, drawn from its metrics.jsonl."""

import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from saltjax.train import metrics

COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#edae49", "#6a4c93", "#5c5c5c")


Points = list[tuple[int, float]]
GIB = 2.0**30


def draw(run: Path) -> list[Path]:
    """Write the plots/*.png of what there is; return what was written.

    loss, learning_rate, grad_norm: of the logged steps. bits_per_byte, and with several held-out texts also
    bits_per_byte_change: each text's curve, and its change since step 0. speed: a panel for each number that is known.
    """
    lines = metrics.read(run / "metrics.jsonl")
    training = [line for line in lines if "loss" in line]
    valid = [(line["step"], line["bits_per_byte"]) for line in lines if line.get("bits_per_byte")]

    def of(key: str, unit: float = 1.0) -> dict[str, Points]:
        return {"": [(line["step"], line[key] / unit) for line in training if line.get(key) is not None]}

    names = dict.fromkeys(name for _, scores in valid for name in scores)
    curves = {name: [(step, scores[name]) for step, scores in valid if name in scores] for name in names}
    pictures: dict[str, dict[str, dict[str, Points]]] = {
        "loss": {"training loss [nats per token]": of("loss")},
        "learning_rate": {"learning rate": of("learning_rate")},
        "grad_norm": {"gradient norm before clipping": of("grad_norm")},
        "bits_per_byte": {"held-out text [bits per byte]": curves},
        "bits_per_byte_change": {"bits per byte, change since the start [%]": _change(curves)},
        "speed": {
            "tokens per second\nof a device": of("tokens_per_second_per_device"),
            "waiting for data\n[% of the time]": of("data_wait", 0.01),
            "MFU [%]": of("mfu", 0.01),
            "device memory,\npeak [GiB]": of("device_memory_peak_bytes", GIB),
        },
    }
    folder = run / "plots"
    folder.mkdir(exist_ok=True)
    return [
        picture(folder / f"{name}.png", known)
        for name, panels in pictures.items()
        if (known := {label: curves for label, curves in panels.items() if any(curves.values())})
    ]


def _change(curves: dict[str, Points]) -> dict[str, Points]:
    """In percent of the value at step 0, where there are several texts and of those that have one."""
    found: dict[str, Points] = {}
    for name, points in curves.items():
        first = dict(points).get(0)
        if first and len(curves) > 1:
            found[name] = [(step, 100 * (value / first - 1)) for step, value in points]
    return found


def picture(path: Path, panels: dict[str, dict[str, Points]]) -> Path:
    """Panels {label: {name: curve}} over one another; a curve with a name is named at its right end. Where there are
    several panels their scales begin at 0, so that what looks large is large."""
    height = 4 if len(panels) == 1 else 0.6 + 1.7 * len(panels)
    figure = Figure(figsize=(7, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(panels), squeeze=False, sharex=True)[:, 0]
    for axes, (label, curves) in zip(rows, panels.items(), strict=True):
        _panel(axes, label, curves)
        if len(panels) > 1:
            axes.set_ylim(bottom=0)
    rows[-1].set_xlabel("optimizer step")
    for axes, curves in zip(rows, panels.values(), strict=True):
        _name_ends(figure, axes, {name: points[-1] for name, points in curves.items() if name})
    figure.savefig(path)
    return path


def _panel(axes: Axes, label: str, curves: dict[str, Points]) -> None:
    for number, (name, points) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        few: dict[str, Any] = {"marker": "o", "markersize": 4} if len(points) <= 30 else {}
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.6, label=name, **few)
    axes.set_ylabel(label)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02)


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
            f"{name} {end[1]:.4g}", end, xytext=(6, lowest - height), textcoords="offset points",
            color=colours[name], va="center", fontsize=9, annotation_clip=False,
        )  # fmt: skip
