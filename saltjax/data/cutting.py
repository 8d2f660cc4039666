"""Full windows: pieces are packed whole as long as that wastes little, then as few as needed are cut in parts."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from saltjax.data.packing import pack


class Parts(NamedTuple):
    """Parts of pieces by window: window i holds the parts `ends[i - 1] : ends[i]`, each the content `start : stop` of
    its piece. Every piece's content is there once; most pieces have one part. int64."""

    piece: Int[np.ndarray, " parts"]
    start: Int[np.ndarray, " parts"]
    stop: Int[np.ndarray, " parts"]
    ends: Int[np.ndarray, " windows"]

    def used(self, windows: slice = slice(None)) -> Int[np.ndarray, " windows"]:
        """The places taken in each window: a part costs its content and one place for BOS."""
        return np.diff(np.concatenate([[0], np.cumsum(1 + self.stop - self.start)])[np.concatenate([[0], self.ends])])


def shortest(seq_len: int) -> int:
    """The least content of a part that is cut off: 8, for there is little to learn with less context; less in windows
    of less than 128 places, where gaps of that size add up. Ours."""
    return max(1, min(8, seq_len // 16))


def fill(sizes: Int[np.ndarray, " pieces"], seq_len: int, max_waste: float) -> Parts:
    """Windows of `seq_len` with all pieces of content `sizes` (1 .. seq_len - 1), padding at most the share `max_waste`
    where that can be had.

    First best-fit decreasing of whole pieces (`packing.pack`). If it wastes more, as many of the emptiest windows as
    must go are dissolved, and their pieces poured into the gaps of the others, largest gap first: a piece is cut where
    a gap is full, and each part costs a BOS of its own. So the fewest and longest parts are cut (ours; Ding et al.
    2024, arXiv:2404.10830, cut no document that fits, and accept what best fit wastes).

    The number of windows is whole, so of a few windows more may be padding; and in windows of 32 places or less the
    gaps that are too small to use can be more. Then the waste is what it is.
    """
    packing = pack(1 + sizes, seq_len)
    whole = Parts(packing.pieces, np.zeros_like(packing.pieces), sizes[packing.pieces], packing.ends)
    if packing.waste <= max_waste:
        return whole
    used = whole.used()
    surplus = int(np.ceil(len(used) - used.sum() / (seq_len * (1 - max_waste))))
    surplus = min(surplus, len(used) - 1)
    by_fill = np.argsort(used, kind="stable")
    kept = by_fill[surplus:]
    window = np.repeat(np.arange(len(used)), np.diff(packing.ends, prepend=0))  # of each part
    stays = np.isin(window, kept)
    freed = whole.piece[~stays]
    freed = freed[np.argsort(-sizes[freed], kind="stable")]
    cut = _poured(sizes, freed, kept, seq_len - used[kept], shortest(seq_len))
    own = np.stack([window, whole.piece, whole.start, whole.stop], axis=1)[stays]
    better = _joined(own, cut, len(used), seq_len)
    return better if len(better.ends) < len(whole.ends) else whole


def _poured(
    sizes: Int[np.ndarray, " pieces"],
    freed: Int[np.ndarray, " f"],
    windows: Int[np.ndarray, " w"],
    gaps: Int[np.ndarray, " w"],
    least: int,
) -> Int[np.ndarray, "parts 4"]:
    """Rows (window, piece, start, stop); window -1 for what found no gap."""
    rows: list[tuple[int, int, int, int]] = []
    queue = iter(zip(freed.tolist(), sizes[freed].tolist(), strict=True))
    piece, size = next(queue, (-1, 0))
    at = 0
    for window, gap in zip(windows.tolist(), gaps.tolist(), strict=True):
        while piece >= 0:
            left = size - at
            take = min(left, gap - 1)
            if take < left:  # neither this part nor the rest may be too short
                take = min(take, left - least)
            if take < min(least, left):
                break
            rows.append((window, piece, at, at + take))
            at += take
            gap -= 1 + take
            if at == size:
                (piece, size), at = next(queue, (-1, 0)), 0
        if piece < 0:
            break
    while piece >= 0:
        rows.append((-1, piece, at, size))
        (piece, size), at = next(queue, (-1, 0)), 0
    return np.array(rows, np.int64).reshape(-1, 4)


def _joined(own: Int[np.ndarray, "o 4"], cut: Int[np.ndarray, "c 4"], windows: int, seq_len: int) -> Parts:
    """Windows with the parts they had and then those poured in; behind them new ones for what found no gap."""
    homeless = cut[cut[:, 0] < 0]
    extra = pack(1 + homeless[:, 3] - homeless[:, 2], seq_len)
    homeless = homeless[extra.pieces]
    homeless[:, 0] = windows + np.repeat(np.arange(len(extra)), np.diff(extra.ends, prepend=0))
    rows = np.concatenate([own, cut[cut[:, 0] >= 0], homeless])
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    ends = np.append(np.flatnonzero(np.diff(rows[:, 0])) + 1, len(rows))
    return Parts(rows[:, 1], rows[:, 2], rows[:, 3], ends)
