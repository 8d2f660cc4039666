"""Who sees whom: from where queries and keys stand, so that the two may differ in number (a cache of keys)."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Int

ALL = 1 << 30  # the window of a layer that has none


class Places(NamedTuple):
    """`positions` count within a piece; `segments` are 1, 2, ... for packed pieces and 0 for padding."""

    positions: Int[Array, "b t"]
    segments: Int[Array, "b t"]


def visible(query: Places, key: Places, window: Int[Array, ""] | int) -> Bool[Array, "b 1 t s"]:
    """True where the key is of the query's segment and 0 to window - 1 positions before it.

    Padding sees padding: no row of the softmax is empty, and no real token ever sees it.
    """
    distance = query.positions[:, :, None] - key.positions[:, None, :]
    same = query.segments[:, :, None] == key.segments[:, None, :]
    return (same & (distance >= 0) & (distance < window))[:, None]
