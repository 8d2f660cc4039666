"""Inputs: the arrays of a transfer, synthetic of any shape, or those of two real models."""

from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np


class Problem(NamedTuple):
    """Auxiliary vectors [n, a], [s, a]; PLM rows [n, ht], [s, ht]; the source's rows of the anchors [s, hs]."""

    aux_new: np.ndarray
    aux_shared: np.ndarray
    target_new: np.ndarray
    target_shared: np.ndarray
    table: np.ndarray

    @property
    def shape(self) -> str:
        n, a = self.aux_new.shape
        s, ht = self.target_shared.shape
        return f"{n:,} new tokens, {s:,} anchors, aux {a}, ht {ht}, hs {self.table.shape[1]}"


def clustered(n=24_000, s=8_000, a=300, ht=768, hs=2048, clusters=700, seed=0) -> Problem:
    """Words in clusters of uneven size: supports of 3 to 70 anchors, median 19 at s = 8,000 and 700 clusters."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, a))
    share = rng.lognormal(0, 1, clusters)
    which = lambda count: rng.choice(clusters, count, p=share / share.sum())  # noqa: E731
    vectors = [centres[which(count)] + rng.normal(size=(count, a)) for count in (n, s)]
    tables = [rng.normal(size=shape) for shape in ((n, ht), (s, ht), (s, hs))]
    return Problem(*(x.astype(np.float32) for x in (*vectors, *tables)))


def flat(n=2_000, s=1_300, a=300, ht=768, hs=2048, seed=0) -> Problem:
    """A collapsed auxiliary space: all cosines nearly equal, supports of about 1,000 of 1,300 anchors."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(1, a))
    vectors = [common + 0.11 * rng.normal(size=(count, a)) for count in (n, s)]
    tables = [rng.normal(size=shape) for shape in ((n, ht), (s, ht), (s, hs))]
    return Problem(*(x.astype(np.float32) for x in (*vectors, *tables)))


def gemma(folder: Path) -> tuple[Problem, np.ndarray]:
    """60,000 target tokens, 25,000 of them anchors; the source's table of 256,000 x 2048 in bfloat16 lies on disk.

    Returns the problem, its table a memory map, and the source ids of the anchors.
    """
    few = clustered(35_000, 25_000, hs=1, clusters=2_000)
    path = folder / "table.bf16"
    table = np.memmap(path, ml_dtypes.bfloat16, "w+", shape=(256_000, 2048))
    rng = np.random.default_rng(1)
    for start in range(0, len(table), 16_000):
        table[start : start + 16_000] = rng.normal(size=(16_000, 2048)).astype(ml_dtypes.bfloat16)
    table.flush()
    ids = rng.permutation(len(table))[:25_000]
    return few._replace(table=np.memmap(path, ml_dtypes.bfloat16, "r", shape=table.shape)), ids


def real(source: str, target: str, aux: str) -> Problem:
    """Two model directories and a fastText file, as `saltjax transfer` would use them."""
    from saltjax.hub.locate import locate
    from saltjax.transfer.problem import pose
    from saltjax.transfer.surgery import open_patient
    from saltjax.vocab.auxiliary import load_auxiliary

    llm, plm = open_patient(locate(source)), open_patient(locate(target))
    posed = pose(llm.vocabulary, plm.vocabulary, plm.embedding(), "aux", load_auxiliary(aux))
    table = np.asarray(llm.embedding()[posed.anchors_source], np.float32)
    return Problem(posed.aux_new, posed.aux_anchors, posed.plm_new, posed.plm_anchors, table)
