"""Whether a space of vectors can tell neighbours apart."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

SAMPLE = 2000  # vectors looked at
QUERIES = 256


class Geometry(NamedTuple):
    """rows: non-zero vectors looked at. mean_cosine: over all pairs of them. support: median size of a sparsemax over
    the cosines of one to all others, as SALT takes it."""

    rows: int
    mean_cosine: float
    support: float


def geometry(vectors: Float[np.ndarray, "n a"]) -> Geometry:
    """Measure a space on at most 2,000 of its non-zero vectors, evenly spaced (no randomness).

    A healthy fastText space has a mean cosine of 0.1 to 0.4 and a support of 10 to 70. One trained too briefly has all
    its vectors in a narrow cone: mean cosine above 0.8, and a support of most anchors.
    """
    norms = np.linalg.norm(vectors, axis=1)
    rows = np.flatnonzero(norms > 0)
    rows = rows[np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(int)]
    count = len(rows)
    if count < 2:
        return Geometry(count, 0.0, float(count))
    unit = (vectors[rows] / norms[rows, None]).astype(np.float64)
    total = unit.sum(axis=0)
    mean_cosine = (total @ total - count) / (count * (count - 1))
    queries = np.linspace(0, count - 1, min(QUERIES, count)).astype(int)
    cosines = unit[queries] @ unit.T
    cosines[np.arange(len(queries)), queries] = -np.inf  # not its own neighbour
    falling = -np.sort(-cosines, axis=1)[:, :-1]
    ranks = np.arange(1, count)
    supports = (1 + ranks * falling > falling.cumsum(axis=1)).sum(axis=1)  # Martins & Astudillo 2016, Prop. 1
    return Geometry(count, float(mean_cosine), float(np.median(supports)))


def warning(found: Geometry) -> str | None:
    """One line that says what is wrong with an auxiliary space and how to mend it, or None. The limits are ours: a
    mean cosine above 0.6, or a support above a tenth of the vectors (and above 100)."""
    if found.mean_cosine <= 0.6 and found.support <= max(100, found.rows / 10):
        return None
    return (
        f"the auxiliary space is {'collapsed' if found.mean_cosine > 0.6 else 'flat'}: mean cosine "
        f"{found.mean_cosine:.2f}, and a word's neighbours are {found.support:,.0f} of {found.rows:,} words, so they "
        "say little; give a published fastText model (--aux FILE.bin), more --aux-text, or choose the neighbours in "
        "the target model's own space (--neighbours plm)"
    )
