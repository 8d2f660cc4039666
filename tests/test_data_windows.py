import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import BOS, EOS, segments_of, store_of

from saltjax.data import windows as windows_module
from saltjax.data.cutting import fill, shortest
from saltjax.data.windows import MAX_WASTE, Windows, packed, pieces
from saltjax.errors import UserError
from saltjax.pocket.corpus import documents


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
    starts, stops, is_last = pieces(np.array([13, 13, 18]), 10, 2)
    assert list(starts) == [10, 12, 13, 15, 17] and list(stops) == [12, 13, 15, 17, 18]
    assert list(is_last) == [False, True, False, False, True]
    windows = Windows(store_of([3, 0, 5]), 3)
    found = [
        (d, p) for i in range(len(windows)) for d, p in zip(windows.documents(i), segments_of(windows[i]), strict=True)
    ]
    assert {(int(d), tuple(p)) for d, p in found} == {
        (0, (BOS, 100, 101)), (0, (BOS, 102, EOS)), (2, (BOS, 103, 104)), (2, (BOS, 105, 106)), (2, (BOS, 107, EOS)),
    }  # fmt: skip


def places(windows):
    return sum(int((windows[i]["segments"] > 0).sum()) for i in range(len(windows)))


# Lengths that whole pieces waste much on: all just over half a window; the pocket text; long-tailed.
LENGTHS = {
    "over half": lambda n, rng: rng.integers(n // 2 + 2, n * 3 // 4, 600),
    "words": lambda n, rng: np.array([len(text.split()) for text in documents("de")]),
    "long tail": lambda n, rng: rng.lognormal(np.log(n), 1, 600).astype(int) + 1,
}


@pytest.mark.parametrize("seq_len", [64, 128, 512, 2048])
@pytest.mark.parametrize("kind", LENGTHS)
def test_packed_windows_waste_two_percent_and_hold_every_token_once_in_order(kind, seq_len):
    lengths = LENGTHS[kind](seq_len, np.random.default_rng(0))
    store = store_of(list(lengths))
    windows = packed(store, seq_len)
    assert len(windows) <= np.ceil(places(windows) / (seq_len * (1 - MAX_WASTE)))  # the last one may be half empty
    assert windows.waste <= MAX_WASTE or (kind, seq_len) == ("words", 2048)  # seventeen windows
    assert windows.waste == pytest.approx(1 - places(windows) / (len(windows) * seq_len))
    parts = [part for i in range(len(windows)) for part in segments_of(windows[i])]
    assert all(part[0] == BOS for part in parts)
    texts = sorted(part[1:-1] if part[-1] == EOS else part[1:] for part in parts)
    assert np.array_equal(np.concatenate(texts), store.tokens)
    assert all(texts)
    # EOS where whole pieces have it: at the end of a document, when there is room
    closed = {part[-2] for part in parts if part[-1] == EOS}
    rest = (lengths - 1) % (seq_len - 1) + 1
    assert closed == {int(store.tokens[end - 1]) for end, r in zip(store.ends, rest, strict=True) if r < seq_len - 1}
    uncut = Windows(store, seq_len)
    whole = {tuple(piece) for i in range(len(uncut)) for piece in segments_of(uncut[i])}
    assert all(len(part) > shortest(seq_len) for part in parts if tuple(part) not in whole)


def test_nothing_is_cut_that_need_not_be():
    lengths = [30] * 40  # two with BOS and EOS fill a window of 64
    parts = fill(np.array(lengths) + 1, 64, MAX_WASTE)
    assert len(parts.piece) == 40 and (parts.start == 0).all() and len(parts.ends) == 20
    # One window more or less: a cut would save none.
    assert list(fill(np.array([40, 40]), 64, MAX_WASTE).start) == [0, 0]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(2, 80).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.integers(1, n - 1), min_size=1, max_size=90))
    )
)
def test_parts_are_a_partition_that_fits_whatever_the_pieces(case):
    seq_len, sizes = case
    parts = fill(np.array(sizes), seq_len, MAX_WASTE)
    assert parts.ends[-1] == len(parts.piece) and (np.diff(parts.ends, prepend=0) > 0).all()
    assert parts.used().max() <= seq_len
    assert len(parts.ends) <= len(fill(np.array(sizes), seq_len, 1.0).ends)
    order = np.lexsort((parts.start, parts.piece))
    piece, start, stop = parts.piece[order], parts.start[order], parts.stop[order]
    first = np.flatnonzero(np.diff(piece, prepend=-1))
    assert list(piece[first]) == list(range(len(sizes))) and (start[first] == 0).all()
    assert list(stop[np.append(first[1:] - 1, len(piece) - 1)]) == sizes
    inner = np.setdiff1d(np.arange(len(piece)), first)
    assert (start[inner] == stop[inner - 1]).all() and (stop > start).all()


def test_blocks_bound_the_memory_and_give_windows_as_good(monkeypatch):
    lengths = list(np.random.default_rng(1).integers(0, 90, 3000))
    store = store_of(lengths)
    for tokens, docs in ((9000, 1 << 20), (1 << 20, 250)):
        monkeypatch.setattr(windows_module, "BLOCK_TOKENS", tokens)
        monkeypatch.setattr(windows_module, "BLOCK_DOCUMENTS", docs)
        windows = packed(store, 64)
        assert windows.waste <= MAX_WASTE
        texts = [
            part[1:-1] if part[-1] == EOS else part[1:] for i in range(len(windows)) for part in segments_of(windows[i])
        ]
        assert np.array_equal(np.concatenate(sorted(texts)), store.tokens)
        reach = [np.ptp(windows.documents(i)) for i in range(len(windows))]
        assert 100 < max(reach) < 400  # packed in blocks, not over all


def test_the_layout_is_kept_beside_the_tokens_and_checked(tmp_path, monkeypatch):
    store = dataclasses.replace(store_of(list(range(1, 200))), directory=tmp_path)
    first = packed(store, 64)
    monkeypatch.setattr(windows_module, "fill", lambda *_: pytest.fail("made again"))
    again = packed(store, 64)
    assert isinstance(again.layout.starts, np.memmap) and len(again) == len(first)
    for i in range(len(first)):
        assert all(np.array_equal(first[i][name], again[i][name]) for name in first[i])
    monkeypatch.undo()
    assert len(packed(store, 32)) != len(first)
    file = next(tmp_path.glob("windows-*-64")) / "stops"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(UserError, match="is damaged; remove it"):
        packed(store, 64)


def test_no_tokens_no_windows_and_no_room():
    assert len(Windows(store_of([0, 0]), 8)) == len(packed(store_of([]), 8)) == 0
    for make in (Windows, packed):
        with pytest.raises(UserError, match="seq_len=1"):
            make(store_of([5]), 1)
