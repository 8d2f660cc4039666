"""Where an axis of a stored tensor goes: patterns such as "(h k) d -> d h k".

The left side is a tensor as PyTorch stores it (a group in brackets is one stored axis), the right side is ours. Each
pattern is a reshape and a transpose, so both directions come from one line, and reading is a VIEW: slicing it
touches only the needed bytes of a memory-mapped file. The axis `v` is the vocabulary, which may be padded here. A `+`
before a group marks the stored axis along which several parameters follow one another in one tensor: in Phi-3's
`qkv_proj` "+(h k) d -> d h k" three times, in GPT-2's `c_attn` "d +(h k) -> d h k".

>>> stored_shape("(h k) d -> d h k", (8, 2, 3))
(6, 8)
>>> from_stored("o i -> i o", np.arange(6).reshape(2, 3), (3, 2)).tolist()
[[0, 3], [1, 4], [2, 5]]
"""

import math
import re
from functools import lru_cache

import numpy as np

GROUP = re.compile(r"\+?(?:\([^)]*\)|\w+)")


@lru_cache
def parse(pattern: str) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """The stored axes (each a group of names) and our axes."""
    left, right = pattern.split(" -> ")
    groups = tuple(tuple(group.strip("+()").split()) for group in GROUP.findall(left))
    ours = tuple(right.split())
    if sorted(ours) != sorted(name for group in groups for name in group):
        raise ValueError(f"the two sides of {pattern!r} name different axes")
    return groups, ours


@lru_cache
def shared_axis(pattern: str) -> int | None:
    """The stored axis that is marked with `+`; None when the tensor holds one parameter only."""
    marked = [axis for axis, group in enumerate(GROUP.findall(pattern.split(" -> ")[0])) if group.startswith("+")]
    if len(marked) > 1:
        raise ValueError(f"{pattern!r} marks several axes with +")
    return marked[0] if marked else None


def stored_shape(pattern: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The stored shape of a tensor that has `shape` here."""
    groups, ours = parse(pattern)
    size = dict(zip(ours, shape, strict=True))
    return tuple(math.prod(size[name] for name in group) for group in groups)


def from_stored(pattern: str, stored: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A stored tensor as a view with our axes, of `shape`."""
    groups, ours = parse(pattern)
    size = dict(zip(ours, shape, strict=True))
    flat = [name for group in groups for name in group]
    return stored.reshape([size[name] for name in flat]).transpose([flat.index(name) for name in ours])


def to_stored(pattern: str, array: np.ndarray) -> np.ndarray:
    """The inverse of `from_stored`; C-contiguous."""
    groups, ours = parse(pattern)
    flat = [name for group in groups for name in group]
    moved = array.transpose([ours.index(name) for name in flat])
    return np.ascontiguousarray(moved).reshape(stored_shape(pattern, array.shape))
