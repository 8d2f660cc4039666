"""A stored tensor into host memory at the speed of memory: cast and transposed in tiles that fit a core's cache.

A tile is cast while its numbers lie as stored, into rows that are padded (rows whose distance is a power of two would
share one set of the cache), and written out transposed. NumPy lets go of the interpreter for copies of plain numbers,
so the work runs in as many threads as there are cores.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import ml_dtypes
import numpy as np

from saltjax.models.layout import Selection

TILE = (256, 512)  # stored rows and columns; 0.25 to 0.5 MB, the fastest of those tried on 2 and 4 bytes a number
JOB = 1 << 23  # bytes in one piece of work, roughly
PADDING = 32  # numbers between the rows of a tile
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
    rows = -(-JOB // max(1, into[:1].nbytes) // TILE[0]) * TILE[0]
    for start in range(0, len(into), rows):
        part = into[start : start + rows]
        yield partial(_copy, read, (_within(chosen[0], start, start + len(part)), *chosen[1:]), part)


def run(jobs: Iterator[Job]) -> None:
    """Do the work on all cores; the first error is raised."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result()


def _within(places: slice | np.ndarray, start: int, stop: int) -> slice | np.ndarray:
    """Those from `start` to `stop` of the places chosen."""
    return slice(places.start + start, places.start + stop) if isinstance(places, slice) else places[start:stop]


def _copy(read: Callable[[], np.ndarray], chosen: Selection, into: np.ndarray) -> None:
    tensor = read()
    if into.ndim != 2 or into.strides[0] >= into.strides[1]:  # not transposed
        _cast(_taken(tensor, chosen), into)
        return
    padded = np.empty((TILE[0], TILE[1] + PADDING), into.dtype)
    for row in range(0, into.shape[0], TILE[0]):
        for column in range(0, into.shape[1], TILE[1]):
            to = into[row : row + TILE[0], column : column + TILE[1]]
            places = (_within(chosen[0], row, row + to.shape[0]), _within(chosen[1], column, column + to.shape[1]))
            tile = padded[: to.shape[0], : to.shape[1]]
            _cast(_taken(tensor, places), tile)
            _cast(tile, to)


def _taken(tensor: np.ndarray, chosen: Selection) -> np.ndarray:
    """tensor[chosen] axis by axis: arrays of places choose independently."""
    for axis, places in enumerate(chosen):
        tensor = tensor[(slice(None),) * axis + (places,)]
    return tensor


def _cast(array: np.ndarray, into: np.ndarray) -> None:
    """into[...] = array. What ml_dtypes does to bfloat16 would keep the interpreter locked, so bits are moved."""
    bits = np.dtype(f"u{into.itemsize}")
    if array.dtype == into.dtype:
        into.view(bits)[...] = array.view(bits)
    elif (array.dtype, into.dtype) == (ml_dtypes.bfloat16, np.float32):
        np.left_shift(array.view(np.uint16), 16, out=into.view(bits), dtype=bits, casting="unsafe")
    else:
        into[...] = array
