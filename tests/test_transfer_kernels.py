"""The kernels at every size: wide supports, meshes, tables on disk, adversarial geometries; against float64."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh
from test_transfer_salt import clustered, oracle, relative

from saltjax.transfer import Mixture, salt_mixture
from saltjax.transfer.blocks import by_size, in_blocks
from saltjax.transfer.complement import nearly_all
from saltjax.transfer.leastsquares import solve
from saltjax.transfer.workers import cores, workers


@pytest.fixture(scope="module")
def mesh():
    return Mesh(np.array(jax.devices()[:8]), ("tokens",))


def equal(one, other):
    np.testing.assert_array_equal(one.indices, other.indices)
    np.testing.assert_array_equal(one.support, other.support)
    np.testing.assert_allclose(one.weights, other.weights, atol=2e-6)
    np.testing.assert_allclose(one.residual, other.residual, atol=1e-5)


@pytest.mark.parametrize("n", [3, 101])
def test_eight_devices_give_what_one_gives(mesh, n, monkeypatch):
    *problem, table = clustered(n, 90, 12, 24, 136)
    one, eight = salt_mixture(*problem), salt_mixture(*problem, mesh=mesh)
    equal(one, eight)
    rows = one.rows(table)
    np.testing.assert_allclose(eight.rows(table), rows, atol=1e-5)
    monkeypatch.setattr("saltjax.transfer.mixture.REPLICATED_BYTES", 1)  # now the table is split by columns
    np.testing.assert_allclose(eight.rows(table), rows, atol=1e-5)
    np.testing.assert_allclose(eight.rows(table[:, :131]), rows[:, :131], atol=1e-5)  # columns that do not divide


def test_a_table_on_disk_is_read_by_its_used_rows_only(tmp_path, monkeypatch):
    """Rows that no token uses may be anything; columns come in slabs, and each cell once."""
    *problem, table = clustered(40, 60, 8, 16, 300)
    mixture = salt_mixture(*problem)
    large = np.memmap(tmp_path / "table", np.float32, "w+", shape=(5000, 300))
    large[:] = np.nan
    places = np.arange(60) * 83
    large[places] = table
    monkeypatch.setattr("saltjax.transfer.mixture.SLAB_BYTES", 60 * 4 * 128)
    parts = list(mixture.over(places).parts(np.memmap(tmp_path / "table", np.float32, "r", shape=(5000, 300))))
    assert {columns.start for _, columns, _ in parts} == {0, 128, 256}
    rows, written = np.zeros((40, 300)), np.zeros((40, 300), int)
    for members, columns, values in parts:
        rows[members, columns] = values
        written[members, columns] += 1
    assert (written == 1).all()
    np.testing.assert_allclose(rows, mixture.rows(table), atol=1e-5)


def flat_problem(n, s, ht, leave_out, seed=0):
    """Each token's support is all anchors but `leave_out` of them, in an order of its own."""
    rng = np.random.default_rng(seed)
    support = s - rng.integers(0, leave_out + 1, n).astype(np.int32)
    indices = np.zeros((n, s), np.int32)
    for i, k in enumerate(support):
        indices[i, :k] = rng.permutation(s)[:k]
    new, shared = (rng.normal(size=(m, ht)).astype(np.float32) for m in (n, s))
    return new, shared, indices, support


@pytest.mark.parametrize("use_mesh", [False, True])
def test_supports_of_nearly_all_anchors(mesh, use_mesh):
    new, shared, indices, support = flat_problem(40, 60, 18, leave_out=17)
    shared = shared * np.geomspace(1, 50, 18).astype(np.float32) + 3  # a common mean and uneven columns, as PLMs have
    assert nearly_all(support, 60, 18).all()
    weights, residual, redone = solve(new, shared, indices, support, mesh if use_mesh else None)
    assert redone == 0
    for i, k in enumerate(support):
        E = shared[indices[i, :k]].astype(np.float64)
        want = new[i] @ np.linalg.pinv(E)
        np.testing.assert_allclose(weights[i, :k], want, atol=2e-5 * np.abs(want).max())
        assert not weights[i, k:].any()
        assert residual[i] == pytest.approx(np.linalg.norm(new[i] - want @ E) / np.linalg.norm(new[i]), abs=1e-4)


def test_a_left_out_anchor_that_alone_spans_a_dimension_is_noticed():
    """Without anchor 0 the rest has rank 5 of 6: the correction breaks down, float64 gives the minimum norm."""
    new, shared, indices, support = flat_problem(60, 40, 6, leave_out=0)
    shared[1:, 5] = 0
    indices[:, :39], support[:] = np.arange(1, 40), 39
    assert nearly_all(support, 40, 6).all()
    weights, _, redone = solve(new, shared, indices, support)
    assert redone == 60
    want = new.astype(np.float64) @ np.linalg.pinv(shared[1:].astype(np.float64))
    np.testing.assert_allclose(weights[:, :39], want, atol=1e-5 * np.abs(want).max())


@given(
    seed=st.integers(0, 2**31),
    n=st.sampled_from([1, 9]),
    s=st.sampled_from([1, 2, 33]),
    a=st.sampled_from([1, 5]),
    ht=st.sampled_from([1, 7, 40]),
    flaw=st.sampled_from(["none", "ties", "duplicates", "zero anchors", "collinear", "far scales", "flat"]),
)
@settings(max_examples=40, deadline=None)
def test_adversarial_geometries_equal_the_explicit_form(seed, n, s, a, ht, flaw):
    """Given our support, whatever it is, the row is that of float64's pinv with the stated cut."""
    rng = np.random.default_rng(seed)
    aux_new, aux_shared, new, shared, table = (
        rng.normal(size=shape).astype(np.float32) for shape in ((n, a), (s, a), (n, ht), (s, ht), (s, 4))
    )
    if flaw == "ties":
        aux_shared[:] = aux_shared[rng.integers(0, s, s)]
    if flaw == "duplicates":
        aux_shared[:], shared[:] = aux_shared[:1], shared[rng.integers(0, max(1, s // 2), s)]
    if flaw == "zero anchors":
        shared[::2] = 0
    if flaw == "collinear":
        shared[:] = shared[:1] * rng.normal(size=(s, 1))
    if flaw == "far scales":
        shared *= 10.0 ** rng.integers(-2, 3, (s, 1))
    if flaw == "flat":
        aux_shared[:], aux_new[:] = 1 + 1e-3 * aux_shared, 1
    mixture = salt_mixture(aux_new, aux_shared, new, shared)
    rows = mixture.rows(table)
    for i in range(n):
        near = mixture.indices[i, : mixture.support[i]]
        E = shared[near].astype(np.float64)
        want = new[i].astype(np.float64) @ np.linalg.pinv(E, rcond=5e-7)
        size = np.abs(want) @ np.abs(table[near])  # of the terms that may cancel
        assert np.all(np.abs(rows[i] - want @ table[near]) <= 3e-4 * size + 1e-12)


def test_supports_in_the_thousands():
    rng = np.random.default_rng(5)
    common = rng.normal(size=(1, 20))
    shapes = ((3, 20), (2600, 20))
    aux_new, aux_shared = ((common + 0.02 * rng.normal(size=shape)).astype(np.float32) for shape in shapes)
    new, shared, table = (rng.normal(size=x).astype(np.float32) for x in ((3, 12), (2600, 12), (2600, 5)))
    mixture = salt_mixture(aux_new, aux_shared, new, shared)
    assert mixture.support.min() > 2000
    want, _ = oracle(aux_new, aux_shared, new, shared, table)
    assert relative(mixture.rows(table), want) < 5e-3  # anchors on the threshold may differ, and weigh little


def test_buckets_and_blocks_hold_every_token_once():
    sizes = np.array([1, 8, 9, 64, 65, 97, 200, 5000, 0], np.int32)
    near = np.array([5, 1, 9, 9, 0, 4, 2, 1, 0], np.int32)
    buckets = list(by_size(sizes, near, edges=(100,)))
    assert sorted(np.concatenate([members for _, members in buckets])) == list(range(9))
    assert all((sizes[members] <= width).all() for width, members in buckets)
    assert [width for width, _ in buckets] == [8, 16, 64, 96, 100, 256, 6144]
    assert buckets[0][1].tolist() == [8, 1, 0]  # like neighbours together
    items = np.arange(10, dtype=np.int32)
    blocks = list(in_blocks(items, 4))
    assert [real for _, real in blocks] == [4, 4, 2] and {len(block) for block, _ in blocks} == {4}
    np.testing.assert_array_equal(np.concatenate([block[:real] for block, real in blocks]), items)
    assert [len(block) for block, _ in in_blocks(items, 512)] == [16]


def test_a_mixture_of_few_rows_equals_the_sum_whatever_the_kernel():
    """Gathered and dense rows: the choice between them is one of speed."""
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 2000, (50, 12)).astype(np.int32)
    support = rng.integers(1, 13, 50).astype(np.int32)
    weights = rng.normal(size=(50, 12)).astype(np.float32) * (np.arange(12) < support[:, None])
    table = rng.normal(size=(2000, 7)).astype(np.float32)
    for size in (2000, 30):
        small = (indices % size).astype(np.int32)
        want = np.einsum("nk,nkh->nh", weights.astype(np.float64), table[small])
        np.testing.assert_allclose(Mixture(small, weights, support).rows(table), want, atol=1e-5)


def test_programs_that_wait_are_at_most_half_of_the_pool(mesh):
    """The tests' eight devices make a pool of eight threads (or as many as there are cores)."""
    pool = max(8, os.cpu_count())
    assert workers() == min(cores(), pool // 2)
    assert workers(mesh) == max(1, min(cores(), pool // 16))


def test_every_core_gets_a_program_and_none_waits_for_ever():
    """A fresh process, as the command starts one: products large enough for the pool, two programs at once."""
    code = """
import numpy as np
from saltjax.transfer.workers import ask_for_cores, cores, workers
ask_for_cores()
from saltjax.transfer import salt_mixture
rng = np.random.default_rng(0)
centres = rng.normal(size=(100, 128))
draw = lambda n: (centres[rng.integers(0, 100, n)] + rng.normal(size=(n, 128))).astype(np.float32)
table = lambda n: rng.normal(size=(n, 256)).astype(np.float32)
mixture = salt_mixture(draw(6000), draw(2000), table(6000), table(2000))
assert np.isfinite(mixture.rows(table(2000))).all()
assert workers() == cores(), (workers(), cores())
"""
    clean = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "NPROC")}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300, env=clean)
