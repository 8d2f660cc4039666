"""Which layers to train: rules over the dispersion."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from saltjax.errors import UserError

RULES = ("prefix", "top", "manual")


def chosen(
    dispersion: Float[np.ndarray, " l"], rule: str, count: int | None = None, layers: Sequence[int] = ()
) -> list[int]:
    """The layers, ascending.

    prefix   the lowest layers up to the first whose dispersion is below the mean over layers (ours), or `count` of them
    top      the `count` layers of the greatest dispersion; by default 6 of 32, as in the paper's 7B model
    manual   `layers` (-1 is the last)

    UserError: an unknown rule, a count or layers that do not go with it, no such layer.
    """
    depth = len(dispersion)
    if rule not in RULES:
        raise UserError(f"--rule {rule} is not known; there are {', '.join(RULES)}")
    if (rule == "manual") != bool(layers):
        raise UserError("--rule manual and --layers 0,1,2 go together")
    if count is not None and (rule == "manual" or not 0 < count <= depth):
        raise UserError(f"--count {count}: from 1 to the {depth} layers, with --rule prefix or top")
    if wrong := [layer for layer in layers if not -depth <= layer < depth]:
        raise UserError(f"--layers: there is no layer {wrong[0]}; the model has layers 0 to {depth - 1}")
    if rule == "manual":
        return sorted({layer % depth for layer in layers})
    if rule == "top":
        greatest = np.argsort(-dispersion, kind="stable")[: count or max(1, round(depth * 6 / 32))]
        return sorted(int(layer) for layer in greatest)
    below = np.flatnonzero(dispersion < dispersion.mean())
    return list(range(count or max(1, int(below[0]) if len(below) else depth)))


def setting(layers: Sequence[int]) -> str:
    """`trainable=...` of `adapt` and `finetune` for SLAM: the up and down projections of these layers alone."""
    at = ",".join(map(str, layers))
    return f"trainable=layers.mlp.up@{at}+layers.mlp.down@{at}"
