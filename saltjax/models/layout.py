"""Where an axis of a stored tensor goes: patterns such as "(h k) d -> d h k".

The left side is a tensor as PyTorch stores it (a group in brackets is one stored axis), the right side is ours. Each
pattern is a permutation of the stored axes and a split of them, so both directions come from one line. The axis `v`
is the vocabulary, which may be padded here. A `+` before a group marks the stored axis along which several parameters
follow one another in one tensor: in Phi-3's `qkv_proj` "+(h k) d -> d h k" three times, in GPT-2's `c_attn`
"d +(h k) -> d h k".

>>> stored_shape("(h k) d -> d h k", (8, 2, 3))
(6, 8)
>>> as_stored("o i -> i o", np.arange(6).reshape(3, 2)).tolist()
[[0, 2, 4], [1, 3, 5]]
"""

import math
import re
from functools import lru_cache

import numpy as np

GROUP = re.compile(r"\+?(?:\([^)]*\)|\w+)")
Selection = tuple[slice | np.ndarray, ...]


@lru_cache
def parse(pattern: str) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """The stored axes (each a group of names) and our axes, in which a group stays together."""
    left, right = pattern.split(" -> ")
    groups = tuple(tuple(group.strip("+()").split()) for group in GROUP.findall(left))
    ours = tuple(right.split())
    if sorted(ours) != sorted(name for group in groups for name in group):
        raise ValueError(f"the two sides of {pattern!r} name different axes")
    if ours != tuple(name for group in sorted(groups, key=lambda group: ours.index(group[0])) for name in group):
        raise ValueError(f"{pattern!r} takes the axes of one bracket apart")
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


def as_stored(pattern: str, array: np.ndarray) -> np.ndarray:
    """An array of ours with the stored axes; a view when it is C-contiguous, to be read or written through."""
    groups, ours = parse(pattern)
    sizes = dict(zip(groups, stored_shape(pattern, array.shape), strict=True))
    order = sorted(groups, key=lambda group: ours.index(group[0]))
    return array.reshape([sizes[group] for group in order]).transpose([order.index(group) for group in groups])


def selection(pattern: str, shape: tuple[int, ...], index: tuple[slice, ...]) -> Selection:
    """Which places of each stored axis make up `ours[index]`, when ours has `shape`: slices where they are one run."""
    groups, ours = parse(pattern)
    size = dict(zip(ours, shape, strict=True))
    place = dict(zip(ours, index, strict=True))
    return tuple(
        _places([range(*place[name].indices(size[name])) for name in group], [size[name] for name in group])
        for group in groups
    )


def _places(ranges: list[range], sizes: list[int]) -> slice | np.ndarray:
    places = np.ravel_multi_index(np.ix_(*ranges), tuple(sizes)).reshape(-1)
    first, last = (int(places[0]), int(places[-1])) if places.size else (0, -1)
    return slice(first, last + 1) if last - first + 1 == places.size else places
