"""Which parameters are stacks of linear maps, and which of their axes are the inputs and the outputs.

Our layout is fixed (`models/decoder.py`): [L, inputs..., outputs...], and [L, E, ...] for the experts.
"""

import re
from typing import NamedTuple

AXES = (
    (r"layers\.attn\.[qkv]", (1,), (2, 3)),  # [L, d, h, k]
    (r"layers\.attn\.o", (1, 2), (3,)),  # [L, h, k, d]
    (r"layers\.mlp\.(gate|up|down)", (1,), (2,)),  # [L, in, out]
    (r"layers\.moe\.(gate|up|down)", (2,), (3,)),  # [L, E, in, out]
)


class Axes(NamedTuple):
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def ndim(self) -> int:
        return self.outputs[-1] + 1


def axes(path: str) -> Axes | None:
    """The axes of the linear map at `path`; None for tables, norms and biases."""
    for pattern, inputs, outputs in AXES:
        if re.fullmatch(pattern, path):
            return Axes(inputs, outputs)
    return None
