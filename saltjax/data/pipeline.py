"""From stored tokens to batches: pieces, windows, and an endless shuffled Grain iterator."""

from collections.abc import Sequence
from typing import NamedTuple

import grain
import numpy as np
from jaxtyping import Int

from saltjax.data.packing import pack
from saltjax.data.tokens import TokenStore
from saltjax.errors import UserError


class Windows(Sequence):
    """The packed windows of a store, by index, each a dict of int32 arrays [seq_len].

    A document is cut into pieces of `seq_len - 1` tokens, each prefixed by BOS; EOS, where the tokenizer has one, ends
    the last piece when there is room (ours: a piece of BOS and EOS alone would teach an empty document). A window holds
    whole pieces:
      tokens     ids, 0 in the padding
      segments   1, 2, ... for the pieces, 0 in the padding
      positions  from 0 in each piece
    The target of a place is the next token of the same segment. `waste` is the share of padding.
    """

    def __init__(self, store: TokenStore, seq_len: int):
        if seq_len < 2:
            raise UserError(f"seq_len={seq_len} leaves no room after BOS; give at least 2")
        self.store, self.seq_len = store, seq_len
        self.document, self._starts, self._stops = pieces(store.ends, seq_len - 1)  # of each piece
        lengths = self._stops - self._starts
        is_last = self._stops == store.ends[self.document]
        self._has_eos = is_last & (lengths < seq_len - 1) & (store.eos is not None)
        self.packing = pack(1 + lengths + self._has_eos, seq_len)
        self.waste = self.packing.waste

    def __len__(self) -> int:
        return len(self.packing)

    def __getitem__(self, index: int) -> dict[str, Int[np.ndarray, " seq_len"]]:  # type: ignore[override]
        window = {name: np.zeros(self.seq_len, np.int32) for name in ("tokens", "segments", "positions")}
        at = 0
        for segment, piece in enumerate(self.packing[index], start=1):
            text = self.store.tokens[self._starts[piece] : self._stops[piece]]
            end = at + 1 + len(text)
            window["tokens"][at] = self.store.bos
            window["tokens"][at + 1 : end] = text
            if self.store.eos is not None and self._has_eos[piece]:
                window["tokens"][end] = self.store.eos
                end += 1
            window["segments"][at:end] = segment
            window["positions"][at:end] = np.arange(end - at)
            at = end
        return window


class Pieces(NamedTuple):
    document: Int[np.ndarray, " pieces"]
    starts: Int[np.ndarray, " pieces"]
    stops: Int[np.ndarray, " pieces"]


def pieces(ends: Int[np.ndarray, " documents"], size: int) -> Pieces:
    """Cut documents with these ends into consecutive pieces of at most `size` tokens; one without tokens has none."""
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    count = -(-(ends - starts) // size)  # rounded up
    document = np.repeat(np.arange(len(ends)), count)
    index_in_document = np.arange(len(document)) - np.repeat(np.cumsum(count) - count, count)
    piece_starts = starts[document] + index_in_document * size
    return Pieces(document, piece_starts, np.minimum(piece_starts + size, ends[document]))


def batches(
    store: TokenStore,
    seq_len: int,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator:
    """Endless batches, dicts of int32 [batch_size / process_count, seq_len] as in `Windows`.

    Every epoch sees each window once, in an order of its own that depends on the seed alone; a batch may reach from one
    epoch into the next. Step s takes the windows `[s * batch_size, (s + 1) * batch_size)` of that order, and a process
    its equal contiguous part of them: together the processes see what one would see. `get_state()` is small, the same
    in every process and for any number of them; `set_state(state)` on a new iterator continues with the exact next
    batch.

    Raises UserError: batch_size does not divide among the processes, seq_len below 2, no token in the store.
    """
    if batch_size < 1 or batch_size % process_count:
        raise UserError(f"batch_size={batch_size} does not divide among {process_count} processes")
    windows = Windows(store, seq_len)
    if not len(windows):
        raise UserError("the text has documents, but the tokenizer gives no token for any of them")
    part = batch_size // process_count
    # Parts of all processes in turn, then every process_count-th: the batch of step s is the parts s * count + index.
    parts = grain.MapDataset.source(windows).seed(seed).shuffle().repeat().batch(part)
    return iter(parts[process_index::process_count].to_iter_dataset(grain.ReadOptions(num_threads=2)))
