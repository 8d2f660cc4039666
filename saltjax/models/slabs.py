"""A stored tensor into host memory at the speed of memory: cast and transposed in slabs that fit a core's cache.

A slab is some rows of the stored tensor. It is cast while its bytes lie as stored, into rows that are padded (rows
whose distance is a power of two would share one set of the cache), and written out transposed. NumPy lets go of the
interpreter for copies of plain numbers, so slabs run in as many threads as there are cores.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import ml_dtypes
import numpy as np

from saltjax.models.layout import Selection

SLAB = 1 << 19  # bytes of a slab, about half of a core's second cache
RUN = 16  # slabs in one piece of work
PADDING = 32  # numbers between the rows of a slab
ALIGNMENT = 64  # bytes; a CPU backend takes over memory that is aligned to it, and copies any other

Job = Callable[[], None]


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised array that a CPU backend can use without a copy."""
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


def copy_jobs(read: Callable[[], np.ndarray], chosen: Selection, into: np.ndarray) -> Iterator[Job]:
    """Pieces of work that together do `into[...] = read()[chosen]`, with a cast; they may run in any order.

    `read` gives a (memory-mapped) stored tensor; every piece calls it, so that only the pages of a piece count as
    this process's memory. `into` has the stored axes, in any order of memory.
    """
    rows = max(1, SLAB // max(1, into[:1].nbytes))
    for start in range(0, len(into), rows * RUN):
        stop = min(start + rows * RUN, len(into))
        yield partial(_copy, read, chosen, into, start, stop, rows)


def run(jobs: Iterator[Job]) -> None:
    """Do the work on all cores; the first error is raised."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result()


def _copy(read: Callable, chosen: Selection, into: np.ndarray, start: int, stop: int, rows: int) -> None:
    tensor = read()
    first, *others = chosen
    transposed = into.ndim == 2 and into.strides[0] < into.strides[1]
    padded = np.empty((rows, into.shape[1] + PADDING), into.dtype) if transposed else None
    for begin in range(start, stop, rows):
        end = min(begin + rows, stop)
        slab = tensor[first.start + begin : first.start + end] if isinstance(first, slice) else tensor[first[begin:end]]
        for axis, places in enumerate(others, 1):
            slab = slab[(slice(None),) * axis + (places,)]
        if padded is None:
            _cast(slab, into[begin:end])
        else:
            straight = padded[: end - begin, : into.shape[1]]
            _cast(slab, straight)
            _cast(straight, into[begin:end])


def _cast(array: np.ndarray, into: np.ndarray) -> None:
    """into[...] = array. What ml_dtypes does to bfloat16 would keep the interpreter locked, so bits are moved."""
    bits = np.dtype(f"u{into.itemsize}")
    if array.dtype == into.dtype:
        into.view(bits)[...] = array.view(bits)
    elif (array.dtype, into.dtype) == (ml_dtypes.bfloat16, np.float32):
        np.left_shift(array.view(np.uint16), 16, out=into.view(bits), dtype=bits, casting="unsafe")
    else:
        into[...] = array
