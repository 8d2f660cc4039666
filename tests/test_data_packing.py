import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltjax.data.packing import pack


def item_by_item(lengths, seq_len):
    """Best-fit decreasing as the textbook has it: the multiset of windows' fill patterns."""
    windows = []
    for length in sorted(lengths, reverse=True):
        fits = [w for w in windows if sum(w) + length <= seq_len]
        if fits:
            max(fits, key=sum).append(length)
        else:
            windows.append([length])
    return windows


@settings(max_examples=200, deadline=None)
@given(
    st.integers(2, 40).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(1, n), min_size=1, max_size=80)))
)
def test_pack_is_a_partition_that_fits_and_as_good_as_best_fit_decreasing(case):
    seq_len, lengths = case
    lengths = np.array(lengths)
    packing = pack(lengths, seq_len)
    windows = [packing[i] for i in range(len(packing))]
    assert sorted(np.concatenate(windows)) == list(range(len(lengths)))
    assert all(0 < lengths[w].sum() <= seq_len for w in windows)
    assert packing.waste == pytest.approx(1 - lengths.sum() / (len(windows) * seq_len))
    # Ties between equally full windows of different make-up may fall otherwise, hence the window of slack.
    assert len(windows) <= len(item_by_item(lengths, seq_len)) + 1


def test_pack_equals_item_by_item_on_many_random_pieces():
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(4, 1, 3000).astype(int), 1, 256)
    assert len(pack(lengths, 256)) == len(item_by_item(list(lengths), 256))
    again = pack(lengths, 256)
    np.testing.assert_array_equal(again.pieces, pack(lengths, 256).pieces)


def test_many_equal_short_pieces_fill_windows():
    packing = pack(np.full(1003, 3), 10)
    assert len(packing) == 335 and max(len(packing[i]) for i in range(335)) == 3


def test_no_pieces_and_bad_lengths():
    assert len(pack(np.zeros(0, np.int64), 8)) == 0
    for lengths in ([0, 3], [9]):
        with pytest.raises(ValueError, match=r"1\.\.8"):
            pack(np.array(lengths), 8)
