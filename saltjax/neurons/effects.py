"""What holding neurons did to text: the record that is written, and its picture."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from saltjax.neurons.compare import table
from saltjax.neurons.intervene import Perplexities
from saltjax.neurons.pictures import draw_changes


def described(found: Perplexities, sets: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    """plain{TEXT}; held, change, control, control_change {SET{TEXT}}, a control being the mean of the draws (NaN
    without any); bits_per_byte{plain, held, control}."""
    bits, by_text = found.bits_per_byte, partial(table, sets, texts)
    control, bits_control = (_mean(draws) for draws in (found.controls, bits["controls"]))
    return {
        "plain": dict(zip(texts, found.plain.tolist(), strict=True)),
        "held": by_text(found.held),
        "change": by_text(found.held - found.plain),
        "control": by_text(control),
        "control_change": by_text(control - found.plain),
        "bits_per_byte": {
            "plain": dict(zip(texts, bits["plain"].tolist(), strict=True)),
            "held": by_text(bits["held"]),
            "control": by_text(bits_control),
        },
    }


def drawn(path: Path, ppl: dict[str, Any]) -> None:
    """The changes in per cent, of the language's neurons and beside them of random ones where there are any."""
    texts, sets = list(ppl["plain"]), list(ppl["held"])
    plain = np.array([ppl["plain"][text] for text in texts])

    def per_cent(name: str) -> np.ndarray:
        return 100 * np.array([[ppl[name][own][text] for text in texts] for own in sets]) / plain

    parts = {"the language's neurons": per_cent("change"), "as many random ones": per_cent("control_change")}
    draw_changes(path, sets, texts, {name: part for name, part in parts.items() if not np.isnan(part).all()})


def _mean(draws: np.ndarray) -> np.ndarray:
    return draws.mean(axis=0) if len(draws) else np.full(draws.shape[1:], np.nan)
