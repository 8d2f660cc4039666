"""The whole new table: copied rows bit for bit, a method's rows, and random ones where nothing is known."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Shaped

from saltjax.errors import UserError
from saltjax.transfer.norms import calibrate
from saltjax.transfer.problem import Problem


@runtime_checkable
class Rule(Protocol):
    """What a method returns: the rows of the problem's new tokens for any source table, in parts of bounded memory.

    A part is (positions among the new tokens, columns, float32 values); see `Mixture.parts`.
    """

    def parts(
        self, table: Shaped[np.ndarray, "vs hs"]
    ) -> Iterator[tuple[Int[np.ndarray, " b"], slice, Float[np.ndarray, "b w"]]]: ...


@dataclass(frozen=True)
class Initialisation:
    """calibrate: new rows get the lengths of shared tokens' rows (`norms.calibrate`); a bias does not."""

    problem: Problem
    rule: Rule
    seed: int
    calibrate: bool = False

    def table(self, name: str, table: Shaped[np.ndarray, "vs *hs"]) -> Shaped[np.ndarray, "vt *hs"]:
        """The table `name` of the source model, for the target's vocabulary; dtype kept.

        Copied and special tokens keep the source row's bits. New tokens get the rule's rows, rounded to the dtype.
        Fallback tokens are drawn from N(mean, std) of the source rows, per dimension (SALT §3); the draw depends on
        the seed and the table's name only. A bias [vs] is treated as a table of one column.

        Raises UserError when a source row in use is not finite.
        """
        problem, (vs, *hs) = self.problem, table.shape
        table_vh = table.reshape(vs, -1)
        used = np.array([token.id for token in problem.source.tokens], np.int64)
        mean, std = _mean_and_std(table_vh, used)
        if not np.isfinite(std).all():
            raise UserError(f"the source's tensor {name} holds values that are not finite: the checkpoint is damaged")
        rows = np.empty((problem.target.size, table_vh.shape[1]), table.dtype)
        for target_id, source_id in (problem.overlap.shared | problem.overlap.special).items():
            rows[target_id] = table_vh[source_id]
        if len(problem.new):
            for members, columns, values in self.rule.parts(table_vh):
                rows[problem.new[members], columns] = values.astype(table.dtype)
        if self.calibrate and table.ndim == 2:
            calibrate(rows, problem.new, table_vh, problem.anchors_source)
        if len(problem.fallback):
            random = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
            draws = random.standard_normal((len(problem.fallback), table_vh.shape[1]))
            rows[problem.fallback] = (mean + draws * std).astype(table.dtype)
        return rows.reshape(problem.target.size, *hs)


def _mean_and_std(
    table_vh: Shaped[np.ndarray, "v h"], used: Int[np.ndarray, " s"]
) -> tuple[Float[np.ndarray, " h"], Float[np.ndarray, " h"]]:
    """Per dimension over the rows in use, in float64 and a few rows at a time: the table may be a memory map."""
    total, square = np.zeros(table_vh.shape[1]), np.zeros(table_vh.shape[1])
    for start in range(0, len(used), 4096):
        rows = table_vh[used[start : start + 4096]].astype(np.float64)
        total += rows.sum(axis=0)
        square += np.square(rows).sum(axis=0)
    mean = total / len(used)
    return mean, np.sqrt(np.maximum(square / len(used) - np.square(mean), 0))
