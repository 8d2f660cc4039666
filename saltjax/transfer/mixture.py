"""A new row is a weighted sum of source rows; a `Mixture` holds which ones and how much of each."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from saltjax.transfer.blocks import by_size, in_blocks


@dataclass(frozen=True)
class Mixture:
    """n new rows as sparse combinations of a source table's rows: `row_i = sum_j weights[i, j] table[indices[i, j]]`.

    The coefficients belong to the tokens and not to a table, so one mixture serves every table of the source model:
    the input embedding, an untied head, an output bias (as one column).

    - `indices`: [n, K] int32 rows of the source table, `weights`: [n, K] float32; both 0 past a token's support.
    - `support`: [n] int32, how many leading entries of a row count (the paper's k, dynamic per token).
    - `residual`: [n] float32, `||e - w E't|| / ||e||`: the share of the PLM's row that the neighbours leave
      unexplained; None for methods that fit nothing.
    """

    indices: Int[np.ndarray, "n K"]
    weights: Float[np.ndarray, "n K"]
    support: Int[np.ndarray, " n"]
    residual: Float[np.ndarray, " n"] | None = None

    def rows(self, table: np.ndarray | Array) -> Float[np.ndarray, "n hs"]:
        """The new rows for `table` ([s, hs], any float dtype), accumulated in float32: [n, hs] float32.

        Raises ValueError when `table` is not two-dimensional or has fewer rows than the mixture names.
        """
        last = int(self.indices.max(initial=-1))
        if table.ndim != 2 or table.shape[0] <= last:
            raise ValueError(f"table has shape {table.shape}; this mixture needs two dimensions and {last + 1} rows")
        table_sh = jnp.asarray(table)
        rows_nh = np.empty((len(self.support), table_sh.shape[1]), np.float32)
        for width, members in by_size(self.support):
            width = min(width, self.indices.shape[1])
            for block, real in in_blocks(members, width * table_sh.shape[1]):
                combined_bh = _combine(table_sh, self.indices[block, :width], self.weights[block, :width])
                rows_nh[block[:real]] = np.asarray(combined_bh)[:real]
        return rows_nh

    def over(self, source_ids: Int[np.ndarray, " s"]) -> "Mixture":
        """The same mixture with its indices taken through `source_ids`: from anchor numbers to source token ids."""
        return replace(self, indices=source_ids.astype(np.int32)[self.indices])


@jax.jit
def _combine(table_sh: Array, indices_bk: Array, weights_bk: Array) -> Array:
    rows_bkh = table_sh[indices_bk].astype(jnp.float32)
    return jnp.einsum("bk,bkh->bh", weights_bk, rows_bkh, precision=jax.lax.Precision.HIGHEST)
