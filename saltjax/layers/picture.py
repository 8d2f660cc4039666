"""The curves over the layers as one picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from saltjax.train.plots import COLOURS


def draw(
    path: Path,
    dispersion: Float[np.ndarray, " l"],
    overlap: Mapping[str, Float[np.ndarray, " l"]],
    reference: str,
    layers: Sequence[int],
) -> None:
    """Dispersion above, with the chosen layers filled, and the overlap of each language with `reference` below."""
    figure = Figure(figsize=(7, 5.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    above: Axes
    below: Axes
    above, below = figure.subplots(2, sharex=True)
    depth = np.arange(len(dispersion))
    above.plot(depth, dispersion, color=COLOURS[0], linewidth=1.6)
    for filled in (True, False):
        here = [layer for layer in depth if (layer in layers) == filled]
        label = "chosen" if filled else "not chosen"
        above.plot(
            here,
            dispersion[here],
            "o",
            color=COLOURS[0],
            markerfacecolor=COLOURS[0] if filled else "white",
            label=label,
        )
    above.set_ylabel("dispersion\n(MSD of active neurons)")
    above.set_ylim(bottom=0)
    above.legend(frameon=False, fontsize=9)
    for number, (language, values) in enumerate(overlap.items()):
        below.plot(
            depth, values, "o-", color=COLOURS[(number + 1) % len(COLOURS)], markersize=4, linewidth=1.6, label=language
        )
    below.set_ylabel(f"share of active neurons\nthat are active in {reference} too")
    below.set_ylim(0, 1.02)
    below.set_xlabel("layer")
    below.legend(frameon=False, fontsize=9, ncols=3)
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (above, below):
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
