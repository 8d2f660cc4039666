"""Windows of whole examples: several to a window, none cut, and the tokens of their answers marked."""

import numpy as np

from saltjax.data.packing import pack
from saltjax.data.tokens import TokenStore
from saltjax.data.windows import NAMES, Layout, Windows
from saltjax.errors import UserError


class ExampleWindows(Windows):
    """The windows of a store of examples, each a dict of int32 arrays [seq_len] as in `Windows`, and
      learns     1 for the tokens of answers, 0 for the others and in the padding
    The target of a place is the next token of the same segment, if that one learns.

    A segment is an example as the template wrote it: nothing is put in front of it or behind it. Examples share a
    window by best-fit decreasing (`packing.pack`). One that is longer than a window is left out and counted in
    `too_long` (ours: without its beginning it would be another question, without its end it would not end).
    """

    names = (*NAMES, "learns")

    def __init__(self, store: TokenStore, seq_len: int):
        if store.learns is None:
            raise ValueError("the store is not one of examples")
        lengths = np.diff(store.ends, prepend=0)
        fitting = np.flatnonzero(lengths <= seq_len)
        packing = pack(lengths[fitting], seq_len)
        here = fitting[packing.pieces]
        stops = np.asarray(store.ends)[here]
        layout = Layout(stops - lengths[here], stops, np.zeros(len(here), bool), packing.ends)
        super().__init__(store, seq_len, layout)
        self.learns = store.learns
        answers = np.add.reduceat(store.learns, store.ends - lengths, dtype=np.int64)
        self.answer_tokens = int(answers[fitting].sum())  # in all windows: the targets of one pass
        self.too_long = len(lengths) - len(fitting)
        self.longest = int(lengths.max())
        self._waste, self._tokens = packing.waste, int(lengths[fitting].sum())

    @property
    def tokens(self) -> int:
        return self._tokens

    @property
    def waste(self) -> float:
        return self._waste

    def write(self, index: int, *arrays: np.ndarray) -> None:
        tokens, segments, positions, learns = arrays
        here = self._segments(index)
        at = 0
        for segment, (start, stop) in enumerate(zip(self.layout.starts[here], self.layout.stops[here], strict=True), 1):
            end = at + int(stop - start)
            tokens[at:end] = self.store.tokens[start:stop]
            learns[at:end] = self.learns[start:stop]
            segments[at:end] = segment
            positions[at:end] = self._counting[: end - at]
            at = end


def example_windows(store: TokenStore, seq_len: int, where: str) -> ExampleWindows:
    """UserError, naming `where`: every example is longer than a window."""
    made = ExampleWindows(store, seq_len)
    if not len(made):
        raise UserError(
            f"{where}: all {made.too_long:,} examples are longer than seq_len={seq_len} "
            f"(the longest has {made.longest:,} tokens); raise it"
        )
    return made
