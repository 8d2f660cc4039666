"""FOCUS, OMP and nearest-neighbour least squares against the tools that people use, on the same arrays.

Skipped where these are not installed (`pip install -e '.[bench]'`), as in CI; there the same rules are held against
NumPy (test_transfer_methods_rules.py).
"""

from types import SimpleNamespace

import numpy as np
import pytest
from test_transfer_methods_rules import HS, PROBLEM, TABLE, N, given

torch = pytest.importorskip("torch")
ANCHORS = torch.from_numpy(TABLE[PROBLEM.anchors_source])
NEW, SHARED = torch.from_numpy(PROBLEM.plm_new), torch.from_numpy(PROBLEM.plm_anchors)


def test_focus_is_deepfocus_on_the_same_vectors():
    focus = pytest.importorskip("deepfocus.focus")
    vectors = lambda rows: map(torch.from_numpy, rows)  # noqa: E731
    shared = {
        str(i): SimpleNamespace(auxiliary_embedding=vector, source_embedding=row)
        for i, (vector, row) in enumerate(zip(vectors(PROBLEM.aux_anchors), ANCHORS, strict=True))
    }
    new = {
        str(i): SimpleNamespace(auxiliary_embedding=vector, target=SimpleNamespace(id=i))
        for i, vector in enumerate(vectors(PROBLEM.aux_new))
    }
    want = focus.focus_additional_token_initialization(shared, new, torch.zeros(N, HS)).numpy()
    np.testing.assert_allclose(given("focus"), want, atol=3e-6)


@pytest.mark.parametrize("k", [1, 6, 20])
def test_omp_is_mergekits(k):
    omp = pytest.importorskip("mergekit.tokensurgeon.omp")
    indices, weights = omp.batch_omp(NEW, SHARED, k)
    want = torch.bmm(weights.unsqueeze(1), ANCHORS[indices]).squeeze(1).numpy()
    np.testing.assert_allclose(given("omp", k=k), want, atol=2e-5 * np.abs(want).max())


def test_knn_is_mergekits_least_squares():
    interpolation = pytest.importorskip("mergekit.tokensurgeon.common_interpolation")
    indices, weights = interpolation.common_interp_approximate(
        NEW, SHARED, 6, interpolation.DistanceMetric.COSINE, interpolation.WeightingScheme.LEAST_SQUARES
    )
    want = torch.bmm(weights.unsqueeze(1), ANCHORS[indices]).squeeze(1).numpy()
    np.testing.assert_allclose(given("knn", k=6), want, atol=2e-5 * np.abs(want).max())
