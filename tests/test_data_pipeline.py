import json

import grain
import numpy as np
import pytest
from stores import store_of

from saltjax.data import pipeline
from saltjax.data.interleaving import Interleaving
from saltjax.data.pipeline import batches
from saltjax.data.windows import Windows, packed
from saltjax.errors import UserError

LENGTHS = list(np.random.default_rng(0).integers(1, 40, 90))


def one(store, seq_len, batch_size, seed, **process):
    return batches([Windows(store, seq_len)], [1.0], batch_size, seed, **process)


def ids(batch):
    return [tuple(row) for row in np.asarray(batch["tokens"])]


def take(iterator, steps):
    return [next(iterator) for _ in range(steps)]


def test_an_epoch_sees_each_window_once_and_the_next_in_another_order():
    store = store_of(LENGTHS)
    n = len(Windows(store, 16))
    rows = [row for batch in take(one(store, 16, 7, seed=3), 3 * n // 7 + 1) for row in ids(batch)]
    epochs = [rows[i * n : (i + 1) * n] for i in range(3)]
    everything = {tuple(Windows(store, 16)[i]["tokens"]) for i in range(n)}
    assert all(set(epoch) == everything and len(epoch) == n for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_the_order_depends_on_the_seed_alone():
    store = store_of(LENGTHS)
    first = take(one(store, 16, 4, seed=0), 5)
    assert [ids(b) for b in first] == [ids(b) for b in take(one(store, 16, 4, seed=0), 5)]
    # Another batch size cuts the same stream.
    rows = [row for batch in first for row in ids(batch)]
    assert rows == [row for batch in take(one(store, 16, 10, seed=0), 2) for row in ids(batch)]
    # Seed 1 is not seed 0 one epoch later.
    n = len(Windows(store, 16))
    other = [row for batch in take(one(store, 16, n, seed=1), 1) for row in ids(batch)]
    assert other not in [ids(batch) for batch in take(one(store, 16, n, seed=0), 3)]


@pytest.mark.parametrize("count", [2, 4])
def test_processes_together_see_what_one_would(count):
    store = store_of(LENGTHS)
    n = len(Windows(store, 16))
    steps = n // 8 + 3  # over the end of an epoch
    alone = take(one(store, 16, 8, seed=5), steps)
    apart = [take(one(store, 16, 8, 5, process_index=i, process_count=count), steps) for i in range(count)]
    for step in range(steps):
        for name in ("tokens", "segments", "positions"):
            joined = np.concatenate([apart[i][step][name] for i in range(count)])
            np.testing.assert_array_equal(joined, alone[step][name])
        assert apart[0][step]["tokens"].shape == (8 // count, 16)


@pytest.mark.parametrize("done", [0, 1, 13])
@pytest.mark.parametrize("count", [1, 2])
def test_a_new_iterator_goes_on_with_the_exact_next_batch(done, count):
    store = store_of(LENGTHS)
    make = lambda i=0, n=1: one(store, 16, 8, 7, process_index=i, process_count=n)  # noqa: E731
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
    batch = next(one(store_of([3, 4]), 16, 4, seed=0))
    assert batch["tokens"].shape == (4, 16) and len(set(ids(batch))) == 1


def test_bad_settings():
    store = store_of([5])
    with pytest.raises(UserError, match="batch_size=6 does not divide among 4"):
        one(store, 16, 6, 0, process_count=4)
    with pytest.raises(UserError, match="batch_size=0"):
        one(store, 16, 0, 0)
    with pytest.raises(UserError, match="no token"):
        one(store_of([0]), 16, 1, 0)


# --- mixtures ---------------------------------------------------------------------------------------------------

SEQ = 32


@pytest.fixture(scope="module")
def mixture():
    """A big corpus with full windows, and a small one whose only window is mostly padding: [corpora, first ids]."""
    big = packed(store_of(list(np.random.default_rng(3).integers(1, 90, 400))), SEQ)
    small = packed(store_of([5, 6], first=100_000), SEQ)
    assert len(small) == 1 and small.waste > 0.4 and big.waste < 0.02
    return [big, small]


def text_by_corpus(batch):
    tokens = np.asarray(batch["tokens"])
    return np.array([((tokens >= 100) & (tokens < 100_000)).sum(), (tokens >= 100_000).sum()])


def test_weights_are_shares_of_the_tokens_and_a_small_corpus_repeats(mixture):
    feed = batches(mixture, [0.95, 0.05], 8, seed=0)
    taken = take(feed, 150)
    total = sum(map(text_by_corpus, taken))
    assert total[1] / total.sum() == pytest.approx(0.05, abs=0.0005)
    seen = feed.seen(150)
    assert [corpus.tokens for corpus in seen] == list(total)
    assert seen[1].epochs == total[1] / 11  # eleven tokens
    assert seen[0].epochs == pytest.approx(total[0] / mixture[0].store.counts.tokens, rel=0.02)
    # Evenly: no long stretch without the small one, or with nothing else.
    rows = np.concatenate([(np.asarray(batch["tokens"]) >= 100_000).any(axis=1) for batch in taken])
    gaps = np.diff(np.flatnonzero(rows))
    assert gaps.max() - gaps.min() <= 1


def test_a_mixed_corpus_goes_through_each_window_once_an_epoch(mixture):
    alone = [row for batch in take(batches(mixture[:1], [1.0], 8, seed=4), 260) for row in ids(batch)]
    rows = [row for batch in take(batches(mixture, [0.9, 0.1], 8, seed=4), 250) for row in ids(batch)]
    rows = [row for row in rows if max(row) < 100_000]
    assert len(rows) > 2 * len(mixture[0]) and rows == alone[: len(rows)]


def test_what_was_seen_is_a_function_of_the_step(mixture):
    feed = batches(mixture, [0.7, 0.3], 4, seed=2)
    steps = [0, 1, 2, 40, 41, 200, 300, 7]  # on, over epochs, and back
    totals = np.cumsum([np.zeros(2, int), *map(text_by_corpus, take(feed, 300))], axis=0)
    for step in steps:
        assert [corpus.tokens for corpus in feed.seen(step)] == list(totals[step]), step
    fresh = batches(mixture, [0.7, 0.3], 4, seed=2, process_index=1, process_count=2)
    assert fresh.seen(200) == feed.seen(200)


@pytest.mark.parametrize("count", [2, 4])
def test_processes_together_see_the_mixture_that_one_would(mixture, count):
    alone = take(batches(mixture, [0.8, 0.2], 8, 5), 60)
    apart = [take(batches(mixture, [0.8, 0.2], 8, 5, i, count), 60) for i in range(count)]
    for step, batch in enumerate(alone):
        for name in batch:
            np.testing.assert_array_equal(np.concatenate([part[step][name] for part in apart]), batch[name])


@pytest.mark.parametrize("readers", [1, 7])
def test_a_mixture_goes_on_with_the_exact_next_batch_with_any_number_of_readers(mixture, monkeypatch, readers):
    running = batches(mixture, [0.8, 0.2], 8, 5)
    take(running, 45)
    state = json.loads(json.dumps(running.get_state()))
    monkeypatch.setattr(pipeline, "READERS", readers)
    restored = [batches(mixture, [0.8, 0.2], 8, 5, i, 2) for i in range(2)]
    for iterator in restored:
        iterator.set_state(state)
    for batch in take(running, 30):
        parts = [next(iterator) for iterator in restored]
        for name in batch:
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), batch[name])


def test_interleaving_is_even_exact_and_takes_each_window_in_turn():
    shares = [0.5, 0.01, 0.29, 0.2]
    mix = Interleaving(shares)
    keys = [0] * 4
    for k in range(3000):
        corpus, key = mix[k]
        assert key == keys[corpus]
        keys[corpus] += 1
        assert all(abs(n - (k + 1) * share) < 2 for n, share in zip(keys, shares, strict=True))
        assert mix.counts(k + 1) == keys
    far = 10**15
    assert mix.counts(far) == [pytest.approx(far * share, rel=1e-9) for share in shares]


def test_the_shuffle_needs_no_memory_for_a_huge_corpus():
    """Grain's permutation is a function: a corpus of 2^31 windows starts at once."""

    class Huge:
        def __len__(self):
            return 2**31

        def __getitem__(self, index):
            return index

    order = grain.MapDataset.source(Huge()).seed(0).shuffle()
    found = [order[i] for i in range(1000)]
    assert len(set(found)) == 1000 and max(found) > 2**30
