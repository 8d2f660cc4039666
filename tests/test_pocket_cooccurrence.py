"""Counted word vectors against the definition, written out densely."""

import numpy as np
import pytest

from saltjax.pocket.cooccurrence import word_vectors


def dense_ppmi(stream, size, ignored, window):
    counts = np.zeros((size, size))
    for i, word in enumerate(stream):
        for j in range(max(0, i - window), min(len(stream), i + window + 1)):
            if i != j and word not in ignored and stream[j] not in ignored:
                counts[word, stream[j]] += (window + 1 - abs(i - j)) / window
    smoothed = counts.sum(1) ** 0.75
    expected = counts.sum(1)[:, None] * (smoothed / smoothed.sum())[None]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(np.maximum(np.log(counts / expected), 0))


@pytest.mark.parametrize("window", [1, 3])
def test_vectors_are_the_truncated_factorisation(window):
    rng = np.random.default_rng(0)
    stream = rng.choice(14, 400, p=rng.dirichlet(np.ones(14))).astype(np.int32)
    u, s, _ = np.linalg.svd(dense_ppmi(stream, 16, [0, 3], window))
    vectors = word_vectors(stream, 16, 6, [0, 3], window)
    assert vectors.shape == (16, 6) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors @ vectors.T, (u[:, :6] * s[:6]) @ u[:, :6].T, atol=1e-4)
    assert not vectors[[0, 3, 14, 15]].any()  # ignored, and never seen
    np.testing.assert_array_equal(vectors, word_vectors(stream, 16, 6, [0, 3], window))


def test_more_dimensions_than_words_are_zero():
    vectors = word_vectors(np.array([0, 1, 0, 2, 1, 1], np.int32), 3, 8)
    assert vectors.shape == (3, 8) and not vectors[:, 3:].any() and vectors[:, :2].any()
