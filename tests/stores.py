"""Token stores in memory whose tokens tell where they come from."""

import numpy as np

from saltjax.data.encode import Counts
from saltjax.data.tokens import TokenStore

BOS, EOS = 1, 2


def store_of(lengths, eos=EOS, first=100):
    """Documents whose tokens are `first`, `first` + 1, ... in order, so that each token is known by its value."""
    tokens = np.arange(first, first + sum(lengths), dtype=np.int32)
    ends = np.cumsum(lengths, dtype=np.int64)
    return TokenStore(tokens, ends, BOS, eos, Counts(len(lengths), len(tokens), 0, 0, int(tokens.max(initial=-1))))


def segments_of(window):
    """The pieces of a window as lists of ids; checks padding and positions on the way."""
    tokens, segments, positions = (np.asarray(window[name]) for name in ("tokens", "segments", "positions"))
    assert all(a.dtype == np.int32 for a in (tokens, segments, positions))
    used = int((segments > 0).sum())
    assert (segments[used:] == 0).all() and (tokens[used:] == 0).all() and (positions[used:] == 0).all()
    found = []
    for segment in range(1, segments.max() + 1):
        here = np.flatnonzero(segments == segment)
        assert list(here) == list(range(here[0], here[-1] + 1))
        assert list(positions[here]) == list(range(len(here)))
        found.append(list(tokens[here]))
    return found
