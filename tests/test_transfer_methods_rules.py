"""Each method that needs no bilingual material against its formula, written once more in float64 NumPy."""

from dataclasses import replace

import numpy as np
import pytest

from saltjax.errors import UserError
from saltjax.transfer.choose import rule, settled
from saltjax.transfer.folds import held_out
from saltjax.transfer.material import Material
from saltjax.transfer.mixture import Mixture
from saltjax.transfer.problem import Problem
from saltjax.vocab.auxiliary import Auxiliary
from saltjax.vocab.overlap import Overlap
from saltjax.vocab.surface import Surface, Token
from saltjax.vocab.vocabulary import Vocabulary

N, S, SOURCE, A, HT, HS = 40, 120, 200, 12, 24, 17  # new tokens, anchors, source tokens, widths of the three spaces
METHODS = ("random", "mean", "gaussian", "focus", "ofa", "clp", "clp+", "omp", "knn", "ridge", "procrustes", "salt")
TABLE = (np.random.default_rng(7).normal(size=(SOURCE + 5, HS)) + 0.3).astype(np.float32)  # five rows without a token
DEFAULTS = {"omp": {"k": 6}, "knn": {"k": 6}, "ofa": {"dim": 9}}


def vocabulary(size):
    tokens = tuple(Token(i, f"w{i}", Surface(f"w{i}".encode(), True), "text") for i in range(size))
    return Vocabulary(tokens, size, {}, "words", f"{size}")


def posed():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(9, A))
    of_new, of_anchors, of_source = (rng.integers(0, 9, size) for size in (N, S, SOURCE))
    aux_new, aux_anchors = (centres[which] + 0.5 * rng.normal(size=(len(which), A)) for which in (of_new, of_anchors))
    vectors = (centres[of_source] + 0.5 * rng.normal(size=(SOURCE, A))).astype(np.float32)
    vectors[::11] = 0  # words that the space does not know
    common = rng.normal(size=HT)
    plm_new, plm_anchors = (common + rng.normal(size=(count, HT)) for count in (N, S))
    ids = rng.permutation(SOURCE)[:S]
    problem = Problem(
        source=vocabulary(SOURCE),
        target=vocabulary(S + N),
        overlap=Overlap({i: int(ids[i]) for i in range(S)}, {}, {}),
        new=np.arange(S, S + N, dtype=np.int32),
        fallback=np.zeros(0, np.int32),
        anchors_source=ids.astype(np.int32),
        anchors_target=np.arange(S, dtype=np.int32),
        plm_new=plm_new.astype(np.float32),
        plm_anchors=plm_anchors.astype(np.float32),
        aux_new=aux_new.astype(np.float32),
        aux_anchors=aux_anchors.astype(np.float32),
        hidden=np.full(N, -1, np.int32),
    )
    compose = lambda words: vectors[[int(word[1:]) for word in words]]  # noqa: E731
    space = Auxiliary(A, {}, [], compose, lambda count: [])
    return problem, Material(auxiliary=space, seed=3), vectors


PROBLEM, MATERIAL, VECTORS = posed()
wide = lambda x: np.asarray(x, np.float64)  # noqa: E731
unit = lambda x: wide(x) / np.maximum(np.linalg.norm(wide(x), axis=-1, keepdims=True), 1e-30)  # noqa: E731
E, H = wide(PROBLEM.plm_new), wide(PROBLEM.plm_anchors)
ROWS = wide(TABLE[PROBLEM.anchors_source])  # of the anchors


def rows(found, table=TABLE, count=N):
    """What a rule gives, and that it gives each cell once."""
    out, times = np.zeros((count, table.shape[1])), np.zeros((count, table.shape[1]), int)
    for members, columns, values in found.parts(table):
        assert values.dtype == np.float32
        out[members, columns] = values
        times[members, columns] += 1
    assert (times == 1).all()
    return out


def given(method, problem=PROBLEM, **options):
    return rows(rule(method, problem, MATERIAL, {**DEFAULTS.get(method, {}), **options}), count=len(problem.new))


def sparsemax(z):
    ordered = np.sort(z)[::-1]
    ranks = np.arange(1, len(z) + 1)
    k = np.max(ranks[1 + ranks * ordered > np.cumsum(ordered)])
    return np.maximum(z - (ordered[:k].sum() - 1) / k, 0)


def convex(new, anchors):
    return np.array([sparsemax(unit(anchors) @ v) for v in unit(new)]) @ ROWS


def pursuit(k):
    """Greedy choice by the residual's inner products, refitted by pinv at every step."""
    found = []
    for e in E:
        chosen, r = [], e
        for _ in range(k):
            chosen.append(int(np.argmax(np.abs(H @ r))))
            w = e @ np.linalg.pinv(H[chosen])
            r = e - w @ H[chosen]
        found.append(w @ ROWS[chosen])
    return np.array(found)


def nearest(k):
    found = []
    for e, z in zip(E, unit(E) @ unit(H).T, strict=True):
        chosen = np.argsort(-z)[:k]
        found.append(e @ np.linalg.pinv(H[chosen]) @ ROWS[chosen])
    return np.array(found)


def ofa(k, temperature, dim):
    """On the factors themselves, coordinates and primitives, by SVD."""
    known = [i for i in range(SOURCE) if VECTORS[i].any()]
    U, sigma, Vt = np.linalg.svd(wide(TABLE[:SOURCE]), full_matrices=False)
    F, P = U[:, :dim], sigma[:dim, None] * Vt[:dim]
    found = []
    for z in unit(PROBLEM.aux_new) @ unit(VECTORS[known]).T:
        chosen = np.argsort(-z)[:k]
        weights = np.exp(z[chosen] / temperature)
        found.append(weights / weights.sum() @ F[np.array(known)[chosen]] @ P)
    return np.array(found)


def clp():
    cosines = unit(E) @ unit(H).T
    return cosines / cosines.sum(axis=1, keepdims=True) @ ROWS


def linear(ridge, centred):
    mean_t, mean_s = (H.mean(0), ROWS.mean(0)) if centred else (0, 0)
    A_, S_ = H - mean_t, ROWS - mean_s
    penalty = np.sqrt(ridge * np.trace(A_.T @ A_) / HT) * np.eye(HT)  # as further rows of the least-squares problem
    X = np.linalg.lstsq(np.vstack([A_, penalty]), np.vstack([S_, np.zeros((HT, HS))]), rcond=None)[0]
    return (E - mean_t) @ X + mean_s


ORACLES = [
    ("mean", {}, lambda: np.tile(wide(TABLE[:SOURCE]).mean(0), (N, 1))),
    ("focus", {}, lambda: convex(PROBLEM.aux_new, PROBLEM.aux_anchors)),
    ("focus", {"neighbours": "plm"}, lambda: convex(E - H.mean(0), H - H.mean(0))),
    ("clp", {}, clp),
    ("clp+", {}, lambda: convex(E, H)),
    ("ofa", {"dim": 9}, lambda: ofa(10, 0.1, 9)),
    ("ofa", {"k": 4, "temperature": 0.5, "dim": 400}, lambda: ofa(4, 0.5, HS)),
    ("omp", {"k": 6}, lambda: pursuit(6)),
    ("omp", {"k": 20}, lambda: pursuit(20)),
    ("knn", {"k": 6}, lambda: nearest(6)),
    ("knn", {"k": 30}, lambda: nearest(30)),
    ("ridge", {}, lambda: linear(0.1, True)),
    ("ridge", {"ridge": 2.0, "centred": False}, lambda: linear(2.0, False)),
    ("ridge", {"ridge": 0.0}, lambda: linear(0.0, True)),
]


@pytest.mark.parametrize("method, options, oracle", ORACLES, ids=[f"{m}-{o}" for m, o, _ in ORACLES])
def test_equals_the_formula(method, options, oracle):
    want = oracle()
    got = given(method, **options)
    assert np.abs(got - want).max() < 2e-5 * np.abs(want).max()


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("width", [HS, 40])  # narrower and wider than the PLM
def test_procrustes_finds_the_rotation_that_was_there(scale, centred, width):
    """S = c A Q + shift: all new rows are then known."""
    rng = np.random.default_rng(1)
    tall = np.linalg.qr(rng.normal(size=(max(HT, width), min(HT, width))))[0]
    Q = tall if width <= HT else tall.T
    shift = rng.normal(size=width) if centred else np.zeros(width)
    c = 2.5 if scale else 1.0
    H_ = H if width >= HT else H @ Q @ Q.T  # a map to fewer dimensions is determined on its own range only
    table = np.zeros((SOURCE, width), np.float32)
    table[PROBLEM.anchors_source] = c * H_ @ Q + shift
    problem = replace(PROBLEM, plm_anchors=H_.astype(np.float32))
    got = rows(rule("procrustes", problem, MATERIAL, {"scale": scale, "centred": centred}), table)
    np.testing.assert_allclose(got, c * E @ Q + shift, atol=2e-4)


def test_procrustes_is_the_best_of_rotations_and_scales():
    """Against random small turns of it: none comes nearer to the anchors' rows."""
    rng = np.random.default_rng(2)
    own = replace(
        PROBLEM,
        new=PROBLEM.anchors_target,
        plm_new=PROBLEM.plm_anchors,
        aux_new=PROBLEM.aux_anchors,
        hidden=np.full(S, -1, np.int32),
    )
    fitted = rows(rule("procrustes", own, MATERIAL, {}), count=S)
    error = np.square(fitted - ROWS).sum()
    centre = fitted.mean(0)
    for size in (1e-3, 1e-2, 0.1):
        skew = rng.normal(size=(HS, HS)) * size
        turn = np.linalg.qr(np.eye(HS) + skew - skew.T)[0]
        turn *= np.sign(np.diag(turn))
        assert np.square((fitted - centre) @ turn + centre - ROWS).sum() > error
        for factor in (1 - size, 1 + size):
            assert np.square((fitted - centre) * factor + centre - ROWS).sum() > error


def test_random_rows_have_the_moments_they_are_said_to_have():
    count = 100_000
    many = replace(
        PROBLEM,
        new=np.arange(count),
        plm_new=np.zeros((count, HT), np.float32),
        aux_new=np.zeros((count, A), np.float32),
        hidden=np.full(count, -1, np.int32),
    )
    drawn = rows(rule("random", many, MATERIAL), count=count)
    np.testing.assert_allclose(drawn.mean(0), TABLE[:SOURCE].mean(0), atol=0.02)
    np.testing.assert_allclose(drawn.std(0), TABLE[:SOURCE].std(0), rtol=0.02)
    small = rows(rule("random", many, MATERIAL, {"std": 0.02}), count=count)
    np.testing.assert_allclose([small.mean(), small.std()], [0, 0.02], atol=1e-4)
    assert (rows(rule("random", PROBLEM, replace(MATERIAL, seed=4))) != given("random")).all()


@pytest.mark.parametrize("method", METHODS)
def test_no_method_looks_at_a_hidden_row(method):
    """Anchors that play new tokens: whatever stands in their source rows, the rule gives the same."""
    out = np.arange(3, S, 7)
    problem = held_out(PROBLEM, out)
    found = rule(method, problem, MATERIAL, DEFAULTS.get(method))
    other = TABLE.copy()
    other[PROBLEM.anchors_source[out]] = 1e3
    np.testing.assert_array_equal(rows(found, TABLE, len(out)), rows(found, other, len(out)))
    assert np.isfinite(rows(found, TABLE, len(out))).all()


@pytest.mark.parametrize("method", ["random", "mean", "gaussian", "focus", "ofa", "clp", "ridge", "procrustes"])
def test_a_bias_is_a_table_of_one_column(method):
    """Also for factorisation and rotation."""
    found = rule(method, PROBLEM, MATERIAL, DEFAULTS.get(method))
    alone = rows(found, TABLE[:, 3:4])
    assert np.isfinite(alone).all() and alone.shape == (N, 1)
    if method not in ("random", "gaussian", "ofa", "procrustes"):  # what a column gets does not depend on the others
        np.testing.assert_allclose(alone, rows(found)[:, 3:4], atol=1e-4)


def test_pursuit_among_many_anchors_needs_no_gram_matrix(monkeypatch):
    monkeypatch.setattr("saltjax.transfer.methods.omp.MOST_ANCHORS", S - 1)
    want = pursuit(6)
    assert np.abs(given("omp", k=6) - want).max() < 2e-5 * np.abs(want).max()


def test_duplicate_and_few_anchors():
    """OMP stops when nothing is left to explain; k above the number of anchors takes them all."""
    few = replace(
        PROBLEM,
        anchors_source=PROBLEM.anchors_source[:4],
        anchors_target=PROBLEM.anchors_target[:4],
        plm_anchors=PROBLEM.plm_anchors[[0, 0, 1, 2]],
        plm_new=np.tile(PROBLEM.plm_anchors[0] * 2, (N, 1)),
        aux_anchors=PROBLEM.aux_anchors[:4],
    )
    found = rule("omp", few, MATERIAL)
    assert isinstance(found, Mixture) and (found.support == 1).all()
    np.testing.assert_allclose(found.weights[:, 0], 2, rtol=1e-6)
    found = rule("knn", few, MATERIAL)
    assert (found.support == 4).all()
    np.testing.assert_allclose(rows(found)[0], ROWS[:2].sum(0), atol=1e-4)  # minimum norm: shared by the two alike


def test_options_are_typed_and_mistakes_name_the_mend():
    np.testing.assert_array_equal(given("omp", k="6"), given("omp", k=6))
    np.testing.assert_array_equal(given("ridge", centred="false"), given("ridge", centred=False))
    for method, options, message in (
        ("fokus", {}, "did you mean focus"),
        ("knn", {"n": 3}, "option n is not known; there are k"),
        ("mean", {"k": 3}, "there are none"),
        ("knn", {"k": "many"}, "must be of type int"),
        ("knn", {"k": "0"}, "k=0 must be positive"),
        ("ridge", {"centred": "no"}, "true or false"),
        ("ridge", {"ridge": "-1"}, "--method ridge: ridge=-1.0"),
        ("ofa", {"temperature": 0}, "temperature"),
        ("gaussian", {"eps": -1}, "eps"),
        ("random", {"std": -1}, "std"),
        ("fvt", {}, "--method fvt: the method needs"),
        ("focus", {"neighbours": "moon"}, "moon"),
    ):
        with pytest.raises(UserError, match=message):
            rule(method, PROBLEM, MATERIAL, options)
    blind = replace(PROBLEM, aux_new=None, aux_anchors=None)
    for method in ("focus", "ofa", "salt"):
        with pytest.raises(UserError, match="--aux"):
            rule(method, blind, MATERIAL)


def test_tokens_that_a_method_has_nothing_for_fall_back():
    found = rule("focus", PROBLEM, MATERIAL)
    support = found.support.copy()
    support[[2, 5]] = 0
    problem, kept = settled(PROBLEM, replace(found, support=support))
    assert problem.fallback.tolist() == PROBLEM.new[[2, 5]].tolist()
    assert problem.counts["fitted"] == N - 2 and "2 of 40" in problem.warnings[-1]
    assert len(problem.hidden) == len(problem.plm_new) == len(problem.aux_new) == N - 2
    np.testing.assert_array_equal(rows(kept, count=N - 2), np.delete(rows(found), [2, 5], axis=0))
    assert settled(PROBLEM, found)[1] is found
