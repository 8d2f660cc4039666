"""A kernel written for ONE token, run for many: vmapped in batches that fit the cache, on one device or a mesh."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Int
from threadpoolctl import threadpool_limits

from saltjax.transfer.blocks import in_blocks
from saltjax.transfer.workers import workers

Kernel = Callable[..., Any]
Split = Literal["tokens", "columns"]
CACHE = 1 << 19  # elements of a batch's largest temporary on a CPU: 2 MiB of float32
MEMORY = 1 << 26  # the same on an accelerator: 256 MiB


@partial(jax.jit, static_argnames=("kernel", "batch", "mesh", "split"))
def each_token(
    kernel: Kernel, tables: Any, tokens: Any, batch: int, mesh: Mesh | None = None, split: Split = "tokens"
) -> Any:
    """`kernel(*tables, *token)` for every token: one compiled program a shape.

    `tables` are whole arrays that all tokens share, `tokens` arrays whose first axis counts tokens; so are the results.
    A batch is vmapped, batches follow one another (`lax.map`), which bounds the memory of temporaries. On a mesh of
    one axis every device does its part of the tokens with its own copy of the tables, or, where the kernel treats the
    tables' columns alike and they are large, all tokens on its part of the columns. Neither needs communication.
    """

    def run(tables: Any, tokens: Any) -> Any:
        return jax.lax.map(lambda token: kernel(*tables, *token), tokens, batch_size=batch)

    if mesh is None:
        return run(tables, tokens)
    of_tables, of_tokens, of_results = specs(mesh, split)
    # check_vma: the loop's carry would have to be marked as varying; there is no reduction that it could check.
    return jax.shard_map(run, mesh=mesh, in_specs=(of_tables, of_tokens), out_specs=of_results, check_vma=False)(
        tables, tokens
    )


def specs(mesh: Mesh, split: Split) -> tuple[P, P, P]:
    """How tables, tokens and results lie on the mesh."""
    axis = mesh.axis_names[0]
    return (P(), P(axis), P(axis)) if split == "tokens" else (P(None, axis), P(), P(None, axis))


def on_devices(tables: Sequence[Any], mesh: Mesh | None, split: Split = "tokens") -> tuple[jax.Array, ...]:
    """The tables where `each_token` wants them; dtypes kept."""
    where = NamedSharding(mesh, specs(mesh, split)[0]) if mesh else None
    return tuple(jax.device_put(np.asarray(table), where) for table in tables)


def over_blocks(
    kernel: Kernel,
    tables: Sequence[jax.Array],
    members: Int[np.ndarray, " m"],
    tokens: Callable[[Int[np.ndarray, " b"]], tuple[np.ndarray, ...]],
    elements: int,
    mesh: Mesh | None = None,
    split: Split = "tokens",
    cpu_budget: int = CACHE,
) -> Iterator[tuple[Int[np.ndarray, " b"], tuple[np.ndarray, ...]]]:
    """Run `kernel` for `members`, a block at a time: (tokens of the block, results as NumPy arrays).

    `tokens(block)` gives a block's inputs, so that what lies on disk is read a block at a time; `elements` is the size
    of a token's largest temporary (see `sizes`). Some blocks are under way while one is handed on (see `workers`).
    """
    batch, length = sizes(elements, cpu_budget)
    devices = mesh.size if mesh and split == "tokens" else 1

    def run(block: np.ndarray, real: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        # A block that is shorter than the mesh is filled up too.
        padded = np.concatenate([block, np.repeat(block[:1], -len(block) % devices)])
        results = each_token(kernel, tuple(tables), tokens(padded), min(batch, len(padded) // devices), mesh, split)
        return block[:real], tuple(np.asarray(result)[:real] for result in jax.tree.leaves(results))

    at_once = workers(mesh)
    blocks = in_blocks(members, length * devices)
    pending: deque[Future] = deque()
    # LAPACK's small factors on one thread each: its own threads would wait for each other on cores that are all in use.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(at_once) as pool:
        for block, real in islice(blocks, 1):
            yield run(block, real)  # alone: it compiles
        for block, real in blocks:
            pending.append(pool.submit(run, block, real))
            if len(pending) > at_once:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def sizes(elements: int, cpu_budget: int = CACHE) -> tuple[int, int]:
    """(batch, block): tokens computed together and tokens a call, both powers of two.

    A CPU is fastest when a batch's temporaries stay in a core's cache; an accelerator wants work.
    """
    cpu = jax.default_backend() == "cpu"
    fits = max(1, (cpu_budget if cpu else MEMORY) // max(1, elements))
    batch = min(1 << (fits.bit_length() - 1), 512 if cpu else 8192)
    return batch, max(batch, 256 if cpu else 8192)
