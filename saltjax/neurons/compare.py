"""How the languages' sets of neurons lie to one another and to the layers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int


def by_layer(neurons: Bool[np.ndarray, "k l f"]) -> Int[np.ndarray, "k l"]:
    """How many neurons each language has in each layer."""
    return neurons.sum(axis=2)


def shared(neurons: Bool[np.ndarray, "k l f"]) -> Int[np.ndarray, "k k"]:
    """How many neurons two languages have in common; on the diagonal how many each one has."""
    flat = neurons.reshape(len(neurons), -1).astype(np.int64)
    return flat @ flat.T


def jaccard(neurons: Bool[np.ndarray, "k l f"]) -> Float[np.ndarray, "k k"]:
    """|A n B| / |A u B|; 0 for two empty sets."""
    both = shared(neurons)
    size = np.diag(both)
    either = size[:, None] + size[None] - both
    return np.divide(both, either, out=np.zeros(both.shape), where=either > 0)


def table(rows: Sequence[str], columns: Sequence[str], cells: np.ndarray) -> dict[str, dict[str, Any]]:
    """{row: {column: cell}}, for a record."""
    return {row: dict(zip(columns, own, strict=True)) for row, own in zip(rows, cells.tolist(), strict=True)}
