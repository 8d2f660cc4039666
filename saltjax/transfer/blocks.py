"""Work of many sizes in few static shapes: tokens in size buckets, buckets in blocks of bounded memory."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

BLOCK_ELEMENTS = 1 << 24  # elements of a block's largest temporary: 64 MiB of float32, whatever the vocabulary


def by_size(sizes: Int[np.ndarray, " n"], edges: Sequence[int] = ()) -> Iterator[tuple[int, Int[np.ndarray, " m"]]]:
    """Group items by size, so that padding is not paid for: (width, members with size <= width), widths rising.

    Widths are powers of two from 8 on, plus `edges` (a width at which the caller's algorithm changes). Each width is
    one compiled program.
    """
    largest = int(sizes.max(initial=0))
    powers = [8 << i for i in range(max(largest - 1, 1).bit_length())]
    lower = -1
    for width in sorted({*powers, *edges}):
        members = np.flatnonzero((sizes > lower) & (sizes <= width)).astype(np.int32)
        if len(members):
            yield width, members
        lower = width


def in_blocks(
    items: Int[np.ndarray, " m"], elements_each: int, budget: int = BLOCK_ELEMENTS
) -> Iterator[tuple[Int[np.ndarray, " b"], int]]:
    """Cut `items` into blocks of one static length b: (block, how many of it are real).

    b keeps `b * elements_each` within `budget`; the last block is filled up by repeating its first item.
    """
    if not len(items):
        return
    fits = max(1, budget // max(1, elements_each))
    length = min(1 << (fits.bit_length() - 1), 1 << (len(items) - 1).bit_length())
    for start in range(0, len(items), length):
        block = items[start : start + length]
        yield np.concatenate([block, np.repeat(block[:1], length - len(block))]), len(block)
