"""Packing: pieces of documents into windows of equal length, with little waste."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True)
class Packing:
    """Which pieces share a window: window i holds `pieces[ends[i - 1] : ends[i]]`, longest first."""

    pieces: Int[np.ndarray, " pieces"]  # int64, each piece once
    ends: Int[np.ndarray, " windows"]  # int64
    waste: float  # share of padding among all places, 0..1

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, window: int) -> Int[np.ndarray, " k"]:
        return self.pieces[self.ends[window - 1] if window else 0 : self.ends[window]]


def pack(lengths: Int[np.ndarray, " pieces"], seq_len: int) -> Packing:
    """Best-fit decreasing: the longest piece left goes into the fullest window that still holds it.

    Pieces of one length are interchangeable, so the packing is done on the histogram of lengths: windows of equal
    make-up are one pattern with a count, and the time depends on `seq_len`, not on the number of pieces (sorting them
    aside). The histogram is Krell et al. 2021 (arXiv:2107.02027), section 3; the result is that of best-fit decreasing
    item by item. Deterministic: among pieces of one length the lower index goes first.
    """
    if lengths.size == 0:
        return Packing(np.zeros(0, np.int64), np.zeros(0, np.int64), 0.0)
    if lengths.min() < 1 or lengths.max() > seq_len:
        raise ValueError(f"lengths must lie in 1..{seq_len}, got {lengths.min()}..{lengths.max()}")
    counts = np.bincount(lengths, minlength=seq_len + 1)
    patterns = _patterns(counts, seq_len)

    # Hand out real pieces: for each length a queue in order of index.
    by_length = np.argsort(-lengths, kind="stable")
    next_of_length = np.concatenate([[0], np.cumsum(counts[::-1])])[:-1][::-1].copy()  # queue start, longest first
    pieces: list[np.ndarray] = []
    sizes: list[np.ndarray] = []
    for times, pattern in patterns:
        block = np.empty((times, len(pattern)), np.int64)
        for column, length in enumerate(pattern):
            start = next_of_length[length]
            block[:, column] = by_length[start : start + times]
            next_of_length[length] += times
        pieces.append(block.ravel())
        sizes.append(np.full(times, len(pattern)))
    ends = np.cumsum(np.concatenate(sizes)).astype(np.int64)
    return Packing(np.concatenate(pieces), ends, 1 - float(lengths.sum()) / (len(ends) * seq_len))


def _patterns(counts: Int[np.ndarray, " lengths"], seq_len: int) -> list[tuple[int, list[int]]]:
    """Best-fit decreasing on a histogram: (how many windows, the lengths in each)."""
    open_by_room: list[list[tuple[int, list[int]]]] = [[] for _ in range(seq_len + 1)]
    for length in range(seq_len, 0, -1):
        left = int(counts[length])
        room = length
        while left:
            # The fullest windows first. What a fill leaves has less room than `length`, so `room` only grows.
            while room < seq_len and not open_by_room[room]:
                room += 1
            times, pattern = open_by_room[room].pop() if open_by_room[room] else (left, [])
            copies = room // length  # best fit keeps filling the same window while it can
            full = min(times, left // copies)
            if full:
                open_by_room[room - copies * length].append((full, pattern + [length] * copies))
                left -= full * copies
            rest = times - full
            if rest and 0 < left < copies:
                open_by_room[room - left * length].append((1, pattern + [length] * left))
                rest -= 1
                left = 0
            if rest and pattern:
                open_by_room[room].append((rest, pattern))
    return [entry for entries in open_by_room for entry in entries]
