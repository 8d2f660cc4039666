"""Where neurons lie, which languages share them, and what happens without them, as pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from saltjax.neurons.compare import by_layer, jaccard, shared
from saltjax.train.plots import COLOURS


def draw_layers(path: Path, languages: Sequence[str], neurons: Bool[np.ndarray, "k l f"]) -> None:
    """A histogram over the layers for each language, and a heat map of the same counts."""
    counts, (k, layers, _) = by_layer(neurons), neurons.shape
    figure = Figure(figsize=(max(6.0, 3 + 0.18 * layers), 1.6 + 1.15 * k), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    bars = figure.subplots(k + 1, sharex=True, height_ratios=[1] * k + [max(0.8, 0.35 * k)])
    for number, (axes, language, own) in enumerate(zip(bars, languages, counts, strict=False)):
        axes.bar(np.arange(layers), own, color=COLOURS[number % len(COLOURS)], width=0.8)
        axes.set_ylim(0, max(1, counts.max()) * 1.08)
        axes.set_ylabel(f"{language}\n{own.sum():,}", rotation=0, ha="right", va="center")
        axes.spines[["top", "right"]].set_visible(False)
    heat = bars[-1]
    image = heat.imshow(counts, aspect="auto", cmap="viridis", vmin=0, interpolation="nearest")
    heat.set_yticks(range(k), languages)
    heat.set_xlabel("layer")
    heat.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(image, ax=heat, label="neurons")
    figure.savefig(path)


def draw_overlap(path: Path, languages: Sequence[str], neurons: Bool[np.ndarray, "k l f"]) -> None:
    """Jaccard similarity of the languages' sets as colour, the number of shared neurons as text."""
    both = shared(neurons)
    labels = [[f"{value:,}" for value in row] for row in both]
    panel = ("neurons in common", jaccard(neurons), labels)
    _matrix(path, [panel], languages, ("", ""), "Jaccard similarity", (0.0, 1.0))


def draw_changes(
    path: Path, sets: Sequence[str], languages: Sequence[str], parts: dict[str, Float[np.ndarray, "i j"]]
) -> None:
    """Change of perplexity, in per cent: rows are whose neurons are held, columns the text; a panel a part."""
    limit = max(float(np.abs(values).max(initial=0)) for values in parts.values()) or 1.0
    panels = [(name, values, [[f"{v:+.2f}" for v in row] for row in values]) for name, values in parts.items()]
    _matrix(path, panels, sets, ("text", "neurons of"), "change of perplexity [%]", (-limit, limit), languages)


def _matrix(
    path: Path,
    panels: list[tuple[str, np.ndarray, list[list[str]]]],
    rows: Sequence[str],
    names: tuple[str, str],
    label: str,
    limits: tuple[float, float],
    columns: Sequence[str] = (),
) -> None:
    columns = columns or rows
    width = 1.2 + (0.9 + 0.62 * len(columns)) * len(panels)
    figure = Figure(figsize=(max(3.6, width), 1.5 + 0.5 * len(rows)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    plots: list[Axes] = list(figure.subplots(1, len(panels), squeeze=False, sharey=True)[0])
    colours = "RdBu_r" if limits[0] < 0 else "Blues"
    for axes, (title, values, labels) in zip(plots, panels, strict=True):
        image = axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xlabel(names[0])
        axes.set_title(title, fontsize=10)
        for (i, j), value in np.ndenumerate(values):
            dark = abs(value) > 0.6 * limits[1]
            axes.text(j, i, labels[i][j], ha="center", va="center", fontsize=8, color="white" if dark else "black")
    plots[0].set_ylabel(names[1])
    figure.colorbar(image, ax=plots, label=label)
    figure.savefig(path)
