import json

import numpy as np
import pytest

from saltjax.data.pipeline import Windows, batches, pieces
from saltjax.data.tokens import Counts, TokenStore
from saltjax.errors import UserError

BOS, EOS = 1, 2


def store_of(lengths, eos=EOS):
    """Documents whose tokens are 100, 101, ... in order, so that each token is known by its value."""
    tokens = np.arange(100, 100 + sum(lengths), dtype=np.int32)
    ends = np.cumsum(lengths)
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


def expected_pieces(lengths, seq_len, eos=EOS):
    """The rule, said with plain lists."""
    found, start = [], 100
    for length in lengths:
        ids = list(range(start, start + length))
        start += length
        for at in range(0, length, seq_len - 1):
            piece = [BOS, *ids[at : at + seq_len - 1]]
            last = at + seq_len - 1 >= length
            found.append([*piece, eos] if last and len(piece) < seq_len and eos is not None else piece)
    return found


@pytest.mark.parametrize("eos", [EOS, None])
@pytest.mark.parametrize("seq_len", [2, 3, 8, 64])
def test_windows_hold_each_piece_once(seq_len, eos):
    lengths = [5, 0, 7, 8, 1, 14, 30, 2, 6, 7]
    windows = Windows(store_of(lengths, eos), seq_len)
    found = [piece for i in range(len(windows)) for piece in segments_of(windows[i])]
    assert sorted(found) == sorted(expected_pieces(lengths, seq_len, eos))
    used = sum(map(len, found))
    assert windows.waste == pytest.approx(1 - used / (len(windows) * seq_len))


def test_pieces_know_their_document():
    document, starts, stops = pieces(np.array([3, 3, 8]), 2)
    assert list(document) == [0, 0, 2, 2, 2]
    assert list(starts) == [0, 2, 3, 5, 7] and list(stops) == [2, 3, 5, 7, 8]


LENGTHS = list(np.random.default_rng(0).integers(1, 40, 90))


def ids(batch):
    return [tuple(row) for row in np.asarray(batch["tokens"])]


def take(iterator, steps):
    return [next(iterator) for _ in range(steps)]


def test_an_epoch_sees_each_window_once_and_the_next_in_another_order():
    store = store_of(LENGTHS)
    n = len(Windows(store, 16))
    rows = [row for batch in take(batches(store, 16, 7, seed=3), 3 * n // 7 + 1) for row in ids(batch)]
    epochs = [rows[i * n : (i + 1) * n] for i in range(3)]
    everything = {tuple(Windows(store, 16)[i]["tokens"]) for i in range(n)}
    assert all(set(epoch) == everything and len(epoch) == n for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_the_order_depends_on_the_seed_alone():
    store = store_of(LENGTHS)
    first = take(batches(store, 16, 4, seed=0), 5)
    assert [ids(b) for b in first] == [ids(b) for b in take(batches(store, 16, 4, seed=0), 5)]
    # Another batch size cuts the same stream.
    rows = [row for batch in first for row in ids(batch)]
    assert rows == [row for batch in take(batches(store, 16, 10, seed=0), 2) for row in ids(batch)]
    # Seed 1 is not seed 0 one epoch later.
    n = len(Windows(store, 16))
    one = [row for batch in take(batches(store, 16, n, seed=1), 1) for row in ids(batch)]
    assert one not in [ids(batch) for batch in take(batches(store, 16, n, seed=0), 3)]


@pytest.mark.parametrize("count", [2, 4])
def test_processes_together_see_what_one_would(count):
    store = store_of(LENGTHS)
    n = len(Windows(store, 16))
    steps = n // 8 + 3  # over the end of an epoch
    alone = take(batches(store, 16, 8, seed=5), steps)
    apart = [take(batches(store, 16, 8, 5, process_index=i, process_count=count), steps) for i in range(count)]
    for step in range(steps):
        for name in ("tokens", "segments", "positions"):
            joined = np.concatenate([apart[i][step][name] for i in range(count)])
            np.testing.assert_array_equal(joined, alone[step][name])
        assert apart[0][step]["tokens"].shape == (8 // count, 16)


@pytest.mark.parametrize("done", [0, 1, 13])
@pytest.mark.parametrize("count", [1, 2])
def test_a_new_iterator_goes_on_with_the_exact_next_batch(done, count):
    store = store_of(LENGTHS)
    make = lambda i=0, n=1: batches(store, 16, 8, 7, process_index=i, process_count=n)  # noqa: E731
    running = make()
    take(running, done)
    state = json.loads(json.dumps(running.get_state()))
    following = take(running, 4)
    restored = [make(i, count) for i in range(count)]  # also by another number of processes
    for iterator in restored:
        iterator.set_state(state)
    for batch in following:
        parts = [next(iterator) for iterator in restored]
        for name in batch:
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), batch[name])


def test_a_text_smaller_than_a_batch_repeats():
    batch = next(batches(store_of([3, 4]), 16, 4, seed=0))
    assert batch["tokens"].shape == (4, 16) and len(set(ids(batch))) == 1


def test_bad_settings():
    store = store_of([5])
    with pytest.raises(UserError, match="batch_size=6 does not divide among 4"):
        batches(store, 16, 6, 0, process_count=4)
    with pytest.raises(UserError, match="batch_size=0"):
        batches(store, 16, 0, 0)
    with pytest.raises(UserError, match="seq_len=1"):
        batches(store, 1, 1, 0)
    with pytest.raises(UserError, match="no token"):
        batches(store_of([0]), 16, 1, 0)
