"""From windows to batches: an endless shuffled Grain iterator over one corpus or a mixture."""

from bisect import bisect
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np
from jaxtyping import Int

from saltjax.data.interleaving import Interleaving, mixed
from saltjax.data.windows import Windows
from saltjax.errors import UserError

READERS = 2  # threads that make batches
AHEAD = 8  # batches that lie ready (Grain's own 500 are gigabytes at the sizes of an accelerator)


class Seen(NamedTuple):
    """Of one corpus, after so many steps: tokens of its text that were in batches, and how often it went round."""

    tokens: int
    epochs: float


class Batches:
    """Endless batches, dicts of int32 [batch_size / process_count, seq_len] as in `Windows`; made by `batches`."""

    def __init__(
        self, iterator: grain.DatasetIterator, tallies: Sequence["_Tally"], mix: Interleaving, batch_size: int
    ):
        self._iterator, self._tallies, self._mix, self._batch_size = iterator, tallies, mix, batch_size

    def __iter__(self) -> Iterator[dict[str, Int[np.ndarray, "b t"]]]:
        return self

    def __next__(self) -> dict[str, Int[np.ndarray, "b t"]]:
        return next(self._iterator)

    def get_state(self) -> Any:
        return self._iterator.get_state()

    def set_state(self, state: Any) -> None:
        self._iterator.set_state(state)

    def seen(self, step: int) -> list[Seen]:
        """What the first `step` batches, over all processes, held of each corpus. A function of the step alone."""
        counts = self._mix.counts(step * self._batch_size)
        return [tally(count) for tally, count in zip(self._tallies, counts, strict=True)]


def batches(
    corpora: Sequence[Windows],
    shares: Sequence[float],
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Batches:
    """Batches whose tokens come from the corpora in these shares.

    A corpus gives its windows in epochs: each sees every window once, in an order of its own that depends on the seed
    alone; a corpus that is small for its share goes round more often. Windows hold one corpus only, and are interleaved
    evenly (`Interleaving`), more of them where windows hold fewer tokens. So a batch may reach from one epoch into the
    next, and hold all corpora. Step s takes the windows `[s * batch_size, (s + 1) * batch_size)` of that order, and a
    process its equal contiguous part of them: together the processes see what one would see. `get_state()` is small,
    the same in every process and for any number of them; `set_state(state)` on a new iterator continues with the exact
    next batch.

    Raises UserError: batch_size does not divide among the processes, a corpus without a token.
    """
    if batch_size < 1 or batch_size % process_count:
        raise UserError(f"batch_size={batch_size} does not divide among {process_count} processes")
    if not all(len(windows) for windows in corpora):
        raise UserError("the text has documents, but the tokenizer gives no token for any of them")
    fullness = [windows.tokens / len(windows) for windows in corpora]
    mix = Interleaving([share / full for share, full in zip(shares, fullness, strict=True)])
    seeds = [(seed + 0x9E3779B1 * number) % 2**32 for number in range(len(corpora))]  # the first has the run's own

    # An order is of numbers, not of windows, which are written into their batch at once: windows are counted through
    # all corpora, `firsts` on.
    firsts = np.cumsum([0, *(len(windows) for windows in corpora)]).tolist()
    orders = [
        grain.MapDataset.range(first, first + len(windows)).seed(seed).shuffle().repeat()
        for first, windows, seed in zip(firsts, corpora, seeds, strict=False)
    ]

    def batch(numbers: Sequence[int]) -> dict[str, Int[np.ndarray, "b t"]]:
        found = {name: np.zeros((len(numbers), corpora[0].seq_len), np.int32) for name in corpora[0].names}
        for row, number in enumerate(numbers):
            corpus = bisect(firsts, number) - 1
            corpora[corpus].write(number - firsts[corpus], *(array[row] for array in found.values()))
        return found

    part = batch_size // process_count
    # Parts of all processes in turn, then every process_count-th: the batch of step s is the parts s * count + index.
    parts = mixed(orders, mix).batch(part, batch_fn=batch)[process_index::process_count]
    options = grain.ReadOptions(num_threads=READERS, prefetch_buffer_size=AHEAD)
    tallies = [_Tally(*one) for one in zip(orders, corpora, firsts, strict=False)]
    return Batches(iter(parts.to_iter_dataset(options)), tallies, mix, batch_size)


class _Tally:
    """Tokens in the first `count` windows of a corpus's endless order; goes on from where it was asked last."""

    def __init__(self, order: grain.MapDataset, windows: Windows, first: int):
        self._order, self._windows, self._first = order, windows, first
        self._last, self._sum = 0, 0

    def __call__(self, count: int) -> Seen:
        epochs, length = count // len(self._windows), len(self._windows)
        if not epochs * length <= self._last <= count:
            self._last, self._sum = epochs * length, epochs * self._windows.tokens
        self._sum += sum(self._windows.text_tokens(self._order[k] - self._first) for k in range(self._last, count))
        self._last = count
        return Seen(self._sum, count / length)
