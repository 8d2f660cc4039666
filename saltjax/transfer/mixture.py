"""A new row is a weighted sum of source rows; a `Mixture` holds which ones and how much of each."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Shaped

from saltjax.transfer.blocks import by_size
from saltjax.transfer.each_token import Split, on_devices, over_blocks

SLAB_BYTES = 1 << 29  # of the table that lie on a device at a time
REPLICATED_BYTES = 1 << 28  # a larger part of a table is split by columns over a mesh, not copied to each device
DENSE = 32  # a support that holds more than 1/32 of the rows in use: a matrix product with all of them is cheaper


def gathered_row(
    table_sh: Shaped[Array, "s hs"], indices: Int[Array, " K"], weights: Float[Array, " K"]
) -> Float[Array, " hs"]:
    """`sum_j weights_j table[indices_j]` for one token, accumulated in float32."""
    return jnp.matmul(weights, table_sh[indices].astype(jnp.float32), precision=jax.lax.Precision.HIGHEST)


def dense_row(
    table_sh: Shaped[Array, "s hs"], indices: Int[Array, " K"], weights: Float[Array, " K"]
) -> Float[Array, " hs"]:
    """The same with a weight for every row of the table."""
    weights_s = jnp.zeros(table_sh.shape[0], jnp.float32).at[indices].add(weights)
    return jnp.matmul(weights_s, table_sh.astype(jnp.float32), precision=jax.lax.Precision.HIGHEST)


@dataclass(frozen=True)
class Mixture:
    """n new rows as sparse combinations of a source table's rows: `row_i = sum_j weights[i, j] table[indices[i, j]]`.

    The coefficients belong to the tokens and not to a table, so one mixture serves every table of the source model:
    the input embedding, an untied head, an output bias (as one column).

    - `indices`: [n, K] int32 rows of the source table, `weights`: [n, K] float32; both 0 past a token's support.
    - `support`: [n] int32, how many leading entries of a row count (the paper's k, dynamic per token).
    - `residual`: [n] float32, `||e - w E't|| / ||e||`: the share of the PLM's row that the neighbours leave
      unexplained; None for methods that fit nothing.
    - `mesh`: of one axis; where rows are computed. None is the default device.
    """

    indices: Int[np.ndarray, "n K"]
    weights: Float[np.ndarray, "n K"]
    support: Int[np.ndarray, " n"]
    residual: Float[np.ndarray, " n"] | None = None
    mesh: Mesh | None = None

    def rows(self, table: np.ndarray | Array) -> Float[np.ndarray, "n hs"]:
        """The new rows for `table` ([s, hs], any float dtype, memory-mapped or not): [n, hs] float32.

        Raises ValueError when `table` is not two-dimensional or has fewer rows than the mixture names.
        """
        rows_nh = np.empty((len(self.support), table.shape[-1]), np.float32)
        for members, columns, values in self.parts(table):
            rows_nh[members, columns] = values
        return rows_nh

    def parts(
        self, table: np.ndarray | Array
    ) -> Iterator[tuple[Int[np.ndarray, " b"], slice, Float[np.ndarray, "b w"]]]:
        """`rows`, in parts of bounded memory: (tokens, columns, their float32 values), each cell exactly once.

        Only rows that a token uses are read, and only `SLAB_BYTES` of them lie on a device at a time, in their own
        dtype; products are accumulated in float32. On a mesh the devices share the tokens, or a large table's columns.
        """
        mesh = self.mesh
        inside = np.arange(self.indices.shape[1]) < self.support[:, None]
        last = int(self.indices.max(initial=-1, where=inside))
        if table.ndim != 2 or table.shape[0] <= last:
            raise ValueError(f"table has shape {table.shape}; this mixture needs two dimensions and {last + 1} rows")
        is_used = np.zeros(last + 1, bool)
        is_used[self.indices[inside]] = True
        used, renumbered = np.flatnonzero(is_used), np.cumsum(is_used, dtype=np.int32) - 1
        for columns in _slabs(table.shape[1], len(used) * table.dtype.itemsize, mesh):
            part = np.asarray(table[used, columns])
            by_columns = mesh and part.nbytes > REPLICATED_BYTES and part.shape[1] % mesh.size == 0
            split: Split = "columns" if by_columns else "tokens"
            tables = on_devices([part], mesh, split)
            for width, members in by_size(self.support, self.indices[:, 0]):
                width = min(width, self.indices.shape[1])

                def tokens(block: np.ndarray, width: int = width) -> tuple[np.ndarray, np.ndarray]:
                    local = np.where(inside[block, :width], renumbered[self.indices[block, :width]], 0)
                    return local, self.weights[block, :width]

                dense = width * DENSE > len(used)
                kernel, elements = (dense_row, len(used)) if dense else (gathered_row, width * part.shape[1])
                for block, (values,) in over_blocks(kernel, tables, members, tokens, elements, mesh, split):
                    yield block, columns, values

    def over(self, source_ids: Int[np.ndarray, " s"]) -> "Mixture":
        """The same mixture with its indices taken through `source_ids`: from anchor numbers to source token ids."""
        return replace(self, indices=source_ids.astype(np.int32)[self.indices])


def _slabs(width: int, bytes_each: int, mesh: Mesh | None) -> Iterator[slice]:
    """Columns in steps of `SLAB_BYTES` (a mesh that splits them holds as much on every device)."""
    step = max(128, SLAB_BYTES * (mesh.size if mesh else 1) // max(1, bytes_each) // 128 * 128)
    for start in range(0, width, step):
        yield slice(start, min(start + step, width))
