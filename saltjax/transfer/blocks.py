"""Work of many sizes in few static shapes: tokens in size buckets, buckets in blocks."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int


def by_size(
    sizes: Int[np.ndarray, " n"], near: Int[np.ndarray, " n"], edges: Sequence[int] = ()
) -> Iterator[tuple[int, Int[np.ndarray, " m"]]]:
    """Group items by size, so that padding is not paid for: (width, members with size <= width), widths rising.

    Members are in the order of `near`: those that read the same rows come together, while these are in the cache.

    Widths rise by 8 up to 64, where most supports lie and a Gram matrix costs width squared, then by a half and a third
    in turn; `edges` are further widths, at which the caller's algorithm changes. Each width is one compiled program.
    """
    largest = int(sizes.max(initial=0))
    widths = [*range(8, 65, 8)]
    while widths[-1] < largest:
        widths.append(widths[-1] + (1 << widths[-1].bit_length() - 2))  # 96, 128, 192, 256, ...
    lower = -1
    for width in sorted({*widths, *edges}):
        members = np.flatnonzero((sizes > lower) & (sizes <= width)).astype(np.int32)
        if len(members):
            yield width, members[np.argsort(near[members], kind="stable")]
        lower = width


def in_blocks(items: Int[np.ndarray, " m"], length: int) -> Iterator[tuple[Int[np.ndarray, " b"], int]]:
    """Cut `items` into blocks of one static length b <= `length`: (block, how many of it are real).

    A power of two when there are few; the last block is filled up by repeating its first item.
    """
    length = min(length, 1 << (len(items) - 1).bit_length()) if len(items) else 1
    for start in range(0, len(items), length):
        block = items[start : start + length]
        yield np.concatenate([block, np.repeat(block[:1], length - len(block))]), len(block)
