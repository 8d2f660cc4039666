"""SALT's kernel against the paper's own form in float64: pinv(E't) @ E's, one token after the other."""

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltjax.transfer import salt_mixture
from saltjax.transfer.leastsquares import solve
from saltjax.transfer.neighbours import neighbours


def sparsemax(z):
    """Weights of sparsemax by a full sort, in float64."""
    z = z.astype(np.float64)
    ordered = np.sort(z)[::-1]
    ranks = np.arange(1, len(z) + 1)
    k = np.max(ranks[1 + ranks * ordered > np.cumsum(ordered)])
    return np.maximum(z - (ordered[:k].sum() - 1) / k, 0)


def oracle(aux_new, aux_shared, target_new, target_shared, table):
    """The paper's §3, literally: the support, X = pinv(E't) E's, and e X. Float64."""
    unit = lambda x: x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)  # noqa: E731
    rows, supports = [], []
    for a, e in zip(unit(aux_new.astype(np.float64)), target_new.astype(np.float64), strict=True):
        support = np.flatnonzero(sparsemax(unit(aux_shared.astype(np.float64)) @ a))
        X = np.linalg.pinv(target_shared[support].astype(np.float64), rcond=1e-10) @ table[support].astype(np.float64)
        rows.append(e @ X)
        supports.append(set(support.tolist()))
    return np.array(rows), supports


def clustered(n, s, a, ht, hs, spread=0.5, seed=0):
    """A problem whose auxiliary space has meaning: supports of a few to a few dozen anchors."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(2, s // 12), a))
    which_s, which_n = rng.integers(0, len(centres), s), rng.integers(0, len(centres), n)
    draw = lambda *shape: rng.normal(size=shape)  # noqa: E731
    return tuple(
        x.astype(np.float32)
        for x in (
            centres[which_n] + spread * draw(n, a),
            centres[which_s] + spread * draw(s, a),
            draw(n, ht),
            draw(s, ht),
            draw(s, hs),
        )
    )


def relative(got, want):
    return np.max(np.linalg.norm(got - want, axis=1) / np.maximum(np.linalg.norm(want, axis=1), 1e-30))


@pytest.mark.parametrize(
    "n, s, a, ht, hs", [(57, 301, 20, 48, 33), (5, 90, 300, 64, 1), (131, 64, 3, 200, 70), (1, 1, 1, 1, 1)]
)
def test_equals_the_explicit_pseudo_inverse(n, s, a, ht, hs):
    *problem, table = clustered(n, s, a, ht, hs)
    mixture = salt_mixture(*problem)
    want, supports = oracle(*problem, table)
    for i in range(n):
        assert set(mixture.indices[i, : mixture.support[i]].tolist()) == supports[i]
    assert relative(mixture.rows(table), want) < 1e-4


def test_k_above_ht_takes_the_minimum_norm_solution():
    *problem, table = clustered(n=20, s=400, a=40, ht=7, hs=11, spread=2.0)
    mixture = salt_mixture(*problem)
    assert np.median(mixture.support) > 7
    want, _ = oracle(*problem, table)
    assert relative(mixture.rows(table), want) < 1e-4
    assert mixture.residual.max() < 1e-3  # seven dimensions are spanned by more neighbours: nothing is left over


def test_flat_space_is_exact_however_wide_the_support():
    """All cosines nearly equal, as in a collapsed fastText: supports of hundreds, past the first width of 64."""
    rng = np.random.default_rng(1)
    common = rng.normal(size=(1, 30))
    aux_new, aux_shared = (common + 0.03 * rng.normal(size=(m, 30)) for m in (6, 900))
    target_new, target_shared, table = (rng.normal(size=shape) for shape in ((6, 50), (900, 50), (900, 8)))
    problem = [x.astype(np.float32) for x in (aux_new, aux_shared, target_new, target_shared)]
    mixture = salt_mixture(*problem)
    want, supports = oracle(*problem, table)
    assert mixture.support.min() > 500
    got = [set(row[:k].tolist()) for row, k in zip(mixture.indices, mixture.support, strict=True)]
    assert max(len(a ^ b) for a, b in zip(got, supports, strict=True)) <= 1  # an anchor on the threshold weighs nothing
    assert relative(mixture.rows(table), want) < 5e-3


def fitted(neighbour_rows, row):
    """Weights for one token whose neighbours are all the given rows."""
    k = len(neighbour_rows)
    weights, residual, redone = solve(
        np.asarray([row], np.float32),
        np.asarray(neighbour_rows, np.float32),
        np.arange(k, dtype=np.int32)[None],
        np.array([k], np.int32),
    )
    return weights[0], residual[0], redone


def test_degenerate_neighbours_get_the_minimum_norm_weights():
    e = np.array([1.0, 2.0, 3.0])
    a, b = np.array([1.0, 1.0, 0.0]), np.array([0.0, 0.5, 2.0])
    one, _, _ = fitted([a], e)
    np.testing.assert_allclose(one, [e @ a / (a @ a)], rtol=1e-6)
    for rows in ([a, a, b], [a, -2 * a, b], [a, np.zeros(3), b], [a, b, a + b], [a, b, a + b, a - b, e], [np.zeros(3)]):
        weights, _, _ = fitted(rows, e)
        want = e @ np.linalg.pinv(np.array(rows), rcond=1e-8)
        np.testing.assert_allclose(weights, want, atol=2e-6)


def test_well_conditioned_tokens_are_not_sent_to_float64():
    """Also around k = ht, where the smaller Gram side changes and a bucket of a power of two would straddle it."""
    rng = np.random.default_rng(4)
    support = np.array([3, 20, 34, 60, 100], np.int32)
    indices = np.tile(np.arange(100, dtype=np.int32), (5, 1))
    new, shared = rng.normal(size=(5, 40)).astype(np.float32), rng.normal(size=(100, 40)).astype(np.float32)
    weights, _, redone = solve(new, shared, indices, support)
    assert redone == 0
    for i, k in enumerate(support):
        np.testing.assert_allclose(weights[i, :k], new[i] @ np.linalg.pinv(shared[:k]), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("short, counts", [(1e-2, True), (1e-5, True), (1e-8, False)])
def test_a_neighbour_far_shorter_than_the_others_does_not_count(short, counts):
    """Singular values below 5e-7 of the largest are noise; inverting one would give a row of astronomic length."""
    rng = np.random.default_rng(3)
    for k, ht in ((6, 20), (20, 6)):
        E = rng.normal(size=(k, ht))
        (E if k < ht else E.T)[2] *= short
        e = rng.normal(size=ht)
        weights, _, _ = fitted(E, e)
        E = E.astype(np.float32).astype(np.float64)
        want = e.astype(np.float32) @ np.linalg.pinv(E, rcond=0 if counts else 1e-6)
        np.testing.assert_allclose(weights, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("condition", [1e1, 1e2, 1e3, 1e4, 1e6])
def test_weights_are_right_to_float32_at_every_condition_number(condition):
    """Well-conditioned rows by the refinement, the others because they are noticed: float32 alone is off by 630."""
    rng = np.random.default_rng(2)
    for k, ht in ((24, 60), (60, 24)):
        left, _ = np.linalg.qr(rng.normal(size=(k, k)))
        right, _ = np.linalg.qr(rng.normal(size=(ht, ht)))
        singular = np.zeros((k, ht))
        np.fill_diagonal(singular, np.geomspace(1, 1 / condition, min(k, ht)))
        E = (left @ singular @ right).astype(np.float32)
        e = rng.normal(size=ht).astype(np.float32)
        weights, _, _ = fitted(E, e)
        want = e.astype(np.float64) @ np.linalg.pinv(E.astype(np.float64))
        assert np.linalg.norm(weights - want) / np.linalg.norm(want) < 1e-5


@given(seed=st.integers(0, 2**31), n=st.sampled_from([1, 7]), s=st.sampled_from([1, 17, 80]), a=st.sampled_from([1, 6]))
@settings(max_examples=25, deadline=None)
def test_support_is_sparsemax_for_any_geometry(seed, n, s, a):
    rng = np.random.default_rng(seed)
    new, shared = rng.normal(size=(n, a)).astype(np.float32), rng.normal(size=(s, a)).astype(np.float32)
    indices, support = neighbours(new, shared)
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    for i in range(n):
        weights = sparsemax(unit(shared.astype(np.float64)) @ unit(new.astype(np.float64))[i])
        got = set(indices[i, : support[i]].tolist())
        assert all(weights[j] < 1e-5 for j in got ^ set(np.flatnonzero(weights).tolist()))


@given(seed=st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_symmetries(seed):
    """The order of the anchors, a rotation of the PLM's space and a linear map of the source table change nothing."""
    rng = np.random.default_rng(seed)
    aux_new, aux_shared, target_new, target_shared, table = clustered(8, 70, 9, 30, 6, seed=seed)
    rows = salt_mixture(aux_new, aux_shared, target_new, target_shared).rows(table)
    size = np.abs(rows).max()
    order = rng.permutation(70)
    shuffled = salt_mixture(aux_new, aux_shared[order], target_new, target_shared[order]).rows(table[order])
    np.testing.assert_allclose(shuffled, rows, atol=1e-4 * size)
    rotation = np.linalg.qr(rng.normal(size=(30, 30)))[0].astype(np.float32)
    rotated = salt_mixture(aux_new, aux_shared, target_new @ rotation, target_shared @ rotation).rows(table)
    np.testing.assert_allclose(rotated, rows, atol=1e-4 * size)
    linear = rng.normal(size=(6, 4)).astype(np.float32)
    mapped = salt_mixture(aux_new, aux_shared, target_new, target_shared).rows(table @ linear)
    np.testing.assert_allclose(mapped, rows @ linear, atol=1e-4 * np.abs(rows @ linear).max())


def test_blocks_do_not_change_the_result(monkeypatch):
    *problem, table = clustered(97, 210, 10, 20, 5)
    whole = salt_mixture(*problem)
    rows = whole.rows(table)
    monkeypatch.setattr("saltjax.transfer.each_token.sizes", lambda elements, budget=0: (4, 16))
    monkeypatch.setattr("saltjax.transfer.mixture.SLAB_BYTES", 1)
    pieces = salt_mixture(*problem)
    np.testing.assert_array_equal(pieces.indices, whole.indices)
    np.testing.assert_allclose(pieces.rows(table), rows, atol=1e-5)


def test_low_precision_tables_and_jax_arrays_are_read_as_they_are():
    *problem, table = clustered(12, 80, 10, 20, 5)
    low = [x.astype(ml_dtypes.bfloat16) for x in (*problem, table)]
    exact = [x.astype(np.float32) for x in low]
    want = salt_mixture(*exact[:4]).rows(exact[4])
    np.testing.assert_allclose(salt_mixture(*low[:4]).rows(low[4]), want, atol=1e-5)
    np.testing.assert_allclose(salt_mixture(*map(jnp.asarray, low[:4])).rows(jnp.asarray(low[4])), want, atol=1e-5)


def test_bad_arguments_are_named():
    aux_new, aux_shared, target_new, target_shared, _ = clustered(4, 30, 5, 6, 2)
    nan = target_shared.copy()
    nan[3, 2] = np.nan
    for arguments, name in (
        ((aux_new[0], aux_shared, target_new, target_shared), "aux_new"),
        ((aux_new, aux_shared[:, :3], target_new, target_shared), "aux_shared"),
        ((aux_new, aux_shared, target_new[:2], target_shared), "target_new"),
        ((aux_new, aux_shared, target_new, target_shared[:, :3]), "target_shared"),
        ((aux_new, aux_shared[:0], target_new, target_shared[:0]), "aux_shared is empty"),
        ((aux_new, aux_shared, target_new, nan), "target_shared holds"),
        ((aux_new * np.inf, aux_shared, target_new, target_shared), "aux_new holds"),
    ):
        with pytest.raises(ValueError, match=name):
            salt_mixture(*arguments)
    mixture = salt_mixture(aux_new, aux_shared, target_new, target_shared)
    with pytest.raises(ValueError, match="table"):  # JAX itself would clamp the indices
        mixture.rows(target_shared[:10])
    nothing = salt_mixture(aux_new[:0], aux_shared, target_new[:0], target_shared)
    assert nothing.rows(target_shared).shape == (0, 6)
