"""Kernel ridge regression from descriptions of tokens to source rows: all anchors speak for every new token."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Shaped
from threadpoolctl import threadpool_limits

from saltjax.transfer.each_token import on_devices, over_blocks
from saltjax.transfer.kernelsystem import Centres, Exact, gram
from saltjax.transfer.leaveoneout import leave_one_out, mean_reciprocal_rank

EXACT = 8192  # anchors up to which every one is a centre of the kernel: 0.5 GiB of float64
CENTRES = 4096  # beyond: so many of them are, all still count in the fit
COLUMNS = 1024  # of a table that are solved for at a time
BATCH = 1 << 22  # elements of a batch of similarities on a CPU
TRIED = 1500  # anchors that the settings are chosen on
FEW = 10  # anchors below which nothing can be chosen
USUAL = (1.0, 0.1)  # sharpness and noise that were chosen most often; for fewer
SEEN = 512  # directions of their rows that are looked at
SHARPNESSES = (0.5, 1.0, 2.0, 3.0, 4.5)
NOISES = (0.03, 0.1, 0.2, 0.4)

Pair = tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "s d"]]


class Settings(NamedTuple):
    """space: a name of `KernelRidge.spaces`. score: the mean reciprocal rank by leave-one-out (of a bias, minus the
    squared error); NaN where there was nothing to choose."""

    space: str
    sharpness: float
    noise: float
    score: float = math.nan


@dataclass(frozen=True)
class KernelRidge:
    """`row = sum_i c_i k(z, z_i) + b` with `k(z, z') = exp(sharpness (z'z - 1))` on descriptions of unit length.

    (c, b) minimises `sum_i |E_s,i - row_i|^2 + noise c'Kc`: the mean of a Gaussian process whose constant is unknown,
    or ordinary kriging. The new row is a combination of the anchors' rows whose weights sum to one, so a rule that is
    linear in the table and moves with it. Settings that are not given are chosen for each table by leave-one-out in
    closed form on `TRIED` of the anchors, over `SHARPNESSES`, `NOISES` and the spaces: those for which the true row
    stands nearest to the predicted one (mean reciprocal rank). The least squared error shrinks rows more: better before
    training and worse after some (docs/scores.md). It is taken for a bias alone, whose one column has no directions.

    - `spaces`: name -> (new [n, d], anchors [s, d]), rows of length one or zero.
    - `anchors`: [s] their rows of the source table.

    Exact up to `EXACT` anchors. Beyond, `CENTRES` anchors drawn with `seed` are the kernel's centres and all anchors
    are fitted (subset of regressors, Nyström; Rasmussen & Williams 2006, 8.3.1): memory and time stay bounded.
    Systems are solved in float64 on the host, new rows computed in float32 on the device or mesh.
    """

    spaces: Mapping[str, Pair]
    anchors: Int[np.ndarray, " s"]
    sharpness: float | None = None
    noise: float | None = None
    seed: int = 0
    mesh: Mesh | None = None

    def settings(self, table: Shaped[np.ndarray, "v hs"]) -> Settings:
        """What is given, and what leave-one-out chooses for the rest."""
        sharpnesses = SHARPNESSES if self.sharpness is None else (self.sharpness,)
        noises = NOISES if self.noise is None else (self.noise,)
        grid = [(space, sharpness) for space in self.spaces for sharpness in sharpnesses]
        if len(grid) * len(noises) == 1:
            return Settings(*grid[0], noises[0])
        random = np.random.default_rng(self.seed)
        _, first = np.unique(self.anchors, return_index=True)  # twins would give each other's row away
        tried = np.sort(random.permutation(first)[:TRIED])
        if len(tried) < FEW:
            return Settings(grid[0][0], self.sharpness or USUAL[0], self.noise or USUAL[1])
        rows = table[self.anchors[tried]].astype(np.float64)
        rows -= rows.mean(axis=0)
        if rows.shape[1] > SEEN:  # a random projection keeps lengths, and so squared errors
            rows = rows @ (random.standard_normal((rows.shape[1], SEEN)) / np.sqrt(SEEN))
        found = []
        # On one thread: small factors gain little from more, and the bits are the same on any number of cores.
        with threadpool_limits(1, user_api="blas"):
            for space, sharpness in grid:
                described = self.spaces[space][1][tried]
                residuals = leave_one_out(gram(described, described, sharpness), noises, rows)
                for noise, residual in zip(noises, residuals, strict=True):
                    if rows.shape[1] > 1:
                        score = mean_reciprocal_rank(rows - residual, rows)
                    else:
                        score = -float(np.square(residual).sum())
                    found.append(Settings(space, sharpness, noise, score))
        return max(found, key=lambda settings: settings.score)

    def parts(
        self, table: Shaped[np.ndarray, "v hs"]
    ) -> Iterator[tuple[Int[np.ndarray, " b"], slice, Float[np.ndarray, "b w"]]]:
        space, sharpness, noise, _ = self.settings(table)
        new, anchors = self.spaces[space]
        exact = len(anchors) <= EXACT
        random = np.random.default_rng(self.seed)
        centres = anchors if exact else anchors[np.sort(random.permutation(len(anchors))[:CENTRES])]
        system = Exact(centres, sharpness, noise) if exact else Centres(centres, anchors, sharpness, noise)
        members = np.arange(len(new), dtype=np.int32)
        for start in range(0, table.shape[1], COLUMNS):
            columns = slice(start, min(start + COLUMNS, table.shape[1]))
            c, b = system.solve(table[self.anchors, columns].astype(np.float64))
            tables = on_devices([x.astype(np.float32) for x in (centres, c, b, np.array(sharpness))], self.mesh)
            tokens = lambda block: (new[block],)  # noqa: E731
            for block, (values,) in over_blocks(
                predicted_row, tables, members, tokens, len(centres), self.mesh, cpu_budget=BATCH
            ):
                yield block, columns, values


def predicted_row(
    centres_md: Float[Array, "m d"],
    c_mh: Float[Array, "m h"],
    b_h: Float[Array, " h"],
    sharpness: Float[Array, ""],
    z_d: Float[Array, " d"],
) -> Float[Array, " h"]:
    """The kernel for one token."""
    highest = jax.lax.Precision.HIGHEST
    k_m = jnp.exp(sharpness * (jnp.matmul(centres_md, z_d, precision=highest) - 1))
    return jnp.matmul(k_m, c_mh, precision=highest) + b_h
