"""Windows of equal length over the tokens of a store: what lies in which window, and the window's arrays."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from saltjax.data.cutting import fill
from saltjax.data.tokens import TokenStore, mapped
from saltjax.errors import UserError
from saltjax.hub.directory import whole_directory

MAX_WASTE = 0.02  # padding among all places of the windows that are trained on
BLOCK_TOKENS, BLOCK_DOCUMENTS = 1 << 25, 1 << 22  # packed together: what bounds the memory
FORMAT = 1  # of the layout on disk
NAMES = ("tokens", "segments", "positions")
KINDS = {"starts": "<i8", "stops": "<i8", "closed": "?", "ends": "<i8"}


class Layout(NamedTuple):
    """Window i holds the segments `ends[i - 1] : ends[i]`: the tokens `starts : stops` of the store, behind a BOS, and
    an EOS behind them where `closed`."""

    starts: Int[np.ndarray, " segments"]  # int64
    stops: Int[np.ndarray, " segments"]  # int64
    closed: np.ndarray  # bool [segments]
    ends: Int[np.ndarray, " windows"]  # int64


class Windows(Sequence):
    """The windows of a store, by index, each a dict of int32 arrays [seq_len].

    A document is cut into pieces of `seq_len - 1` tokens, each prefixed by BOS; EOS, where the tokenizer has one, ends
    the last piece when there is room (ours: a piece of BOS and EOS alone would teach an empty document). A window holds
    pieces, and parts of pieces where `packed` had to cut more; a part is like a piece, with a BOS of its own.
      tokens     ids, 0 in the padding
      segments   1, 2, ... for the pieces, 0 in the padding
      positions  from 0 in each piece
    The target of a place is the next token of the same segment.

    As made here, no piece is cut further (evaluation counts on it) and the layout is in memory.
    """

    names: tuple[str, ...] = NAMES

    def __init__(self, store: TokenStore, seq_len: int, layout: Layout | None = None):
        if seq_len < 2:
            raise UserError(f"seq_len={seq_len} leaves no room after BOS; give at least 2")
        self.store, self.seq_len = store, seq_len
        self._counting = np.arange(seq_len, dtype=np.int32)
        self.layout = layout or _whole(layouts(store, seq_len, 1.0))

    def __len__(self) -> int:
        return len(self.layout.ends)

    @property
    def tokens(self) -> int:
        """Of the text, in all windows."""
        return self.store.counts.tokens

    @property
    def waste(self) -> float:
        """The share of padding among all places."""
        used = self.tokens + len(self.layout.starts) + np.count_nonzero(self.layout.closed)
        return 1 - used / (len(self) * self.seq_len) if len(self) else 0.0

    def _segments(self, index: int) -> slice:
        return slice(int(self.layout.ends[index - 1]) if index else 0, int(self.layout.ends[index]))

    def documents(self, index: int) -> Int[np.ndarray, " segments"]:
        """The document of each segment of a window."""
        return np.searchsorted(self.store.ends, self.layout.starts[self._segments(index)], side="right")

    def text_tokens(self, index: int) -> int:
        """Tokens of the text in a window: no BOS, no EOS."""
        here = self._segments(index)
        return int((self.layout.stops[here] - self.layout.starts[here]).sum())

    def __getitem__(self, index: int) -> dict[str, Int[np.ndarray, " seq_len"]]:  # type: ignore[override]
        window = {name: np.zeros(self.seq_len, np.int32) for name in self.names}
        self.write(index, *window.values())
        return window

    def write(self, index: int, tokens: np.ndarray, segments: np.ndarray, positions: np.ndarray) -> None:
        """The window into arrays of zeros."""
        here = self._segments(index)
        at = 0
        rows = zip(self.layout.starts[here], self.layout.stops[here], self.layout.closed[here], strict=True)
        for segment, (start, stop, closed) in enumerate(rows, start=1):
            end = at + 1 + int(stop - start)
            tokens[at] = self.store.bos
            tokens[at + 1 : end] = self.store.tokens[start:stop]
            if closed and self.store.eos is not None:
                tokens[end] = self.store.eos
                end += 1
            segments[at:end] = segment
            positions[at:end] = self._counting[: end - at]
            at = end


def packed(store: TokenStore, seq_len: int) -> Windows:
    """The store's windows with at most `MAX_WASTE` of padding, for training; see `cutting.fill` for where that cannot
    be. The layout is kept beside the tokens and memory-mapped; it is made block by block, in bounded memory.

    Raises UserError: seq_len below 2, the directory of the store cannot be written, a damaged layout.
    """
    if store.directory is None or seq_len < 2:
        return Windows(store, seq_len, _whole(layouts(store, seq_len, MAX_WASTE)) if seq_len >= 2 else None)
    directory = store.directory / f"windows-{FORMAT}-{seq_len}"
    if not directory.exists():
        try:
            with whole_directory(directory) as partial:
                _write(partial, layouts(store, seq_len, MAX_WASTE))
        except UserError:
            if not directory.exists():  # else another process was faster, and wrote the same
                raise
    try:
        layout = Layout(*(mapped(directory / name, kind) for name, kind in KINDS.items()))
    except (OSError, ValueError):
        layout = None
    lengths = {len(array) for array in layout[:3]} if layout else set()
    if layout is None or lengths != {int(layout.ends[-1]) if len(layout.ends) else 0}:
        raise UserError(f"the token cache {directory} is damaged; remove it, and it is made again")
    return Windows(store, seq_len, layout)


def layouts(store: TokenStore, seq_len: int, max_waste: float) -> Iterator[Layout]:
    """The layout in parts, one for each block of documents; at least one."""
    first, segments = 0, 0
    while True:
        begin = int(store.ends[first - 1]) if first else 0
        last = int(np.searchsorted(store.ends, begin + BLOCK_TOKENS, side="right"))
        last = min(max(last, first + 1), first + BLOCK_DOCUMENTS, len(store.ends))
        starts, stops, is_last = pieces(np.asarray(store.ends[first:last]), begin, seq_len - 1)
        closed = is_last & (stops - starts < seq_len - 1) & (store.eos is not None)
        sizes = stops - starts + closed
        parts = fill(sizes, seq_len, max_waste)
        yield Layout(
            starts[parts.piece] + parts.start,
            np.minimum(starts[parts.piece] + parts.stop, stops[parts.piece]),
            closed[parts.piece] & (parts.stop == sizes[parts.piece]),
            segments + parts.ends,
        )
        first, segments = last, segments + len(parts.piece)
        if first >= len(store.ends):
            return


class Pieces(NamedTuple):
    starts: Int[np.ndarray, " pieces"]
    stops: Int[np.ndarray, " pieces"]
    is_last: np.ndarray  # bool [pieces]: of its document


def pieces(ends: Int[np.ndarray, " documents"], begin: int, size: int) -> Pieces:
    """Cut documents, the first from `begin`, with these ends into consecutive pieces of at most `size` tokens; one
    without tokens has none."""
    doc_starts = np.concatenate([[begin], ends[:-1]]).astype(np.int64)[: len(ends)]
    count = -(-(ends - doc_starts) // size)  # rounded up
    document = np.repeat(np.arange(len(ends)), count)
    index_in_document = np.arange(len(document)) - np.repeat(np.cumsum(count) - count, count)
    starts = doc_starts[document] + index_in_document * size
    stops = np.minimum(starts + size, ends[document])
    return Pieces(starts, stops, stops == ends[document])


def _whole(parts: Iterator[Layout]) -> Layout:
    return Layout(*map(np.concatenate, zip(*parts, strict=True)))


def _write(directory: Path, parts: Iterator[Layout]) -> None:
    with ExitStack() as stack:
        files = [stack.enter_context((directory / name).open("wb")) for name in KINDS]
        for part in parts:
            for file, array, kind in zip(files, part, KINDS.values(), strict=True):
                file.write(np.ascontiguousarray(array, kind).data)
