"""Scores without training: what is held out, what a score is, and that nothing gives the answer away."""

import json
from dataclasses import replace

import numpy as np
import pytest
from problems import posed, rows_of, vocabulary

from saltjax.errors import UserError
from saltjax.transfer.bands import bands, script
from saltjax.transfer.choose import rule
from saltjax.transfer.folds import folds, held_out
from saltjax.transfer.heads import Given
from saltjax.transfer.intervals import Bootstrap
from saltjax.transfer.scores import predictions, rivals
from saltjax.transfer.scoring import score
from saltjax.transfer.shift import shift

PROBLEM, MATERIAL, TABLE = posed()
METHODS = ("mean", "gaussian", "salt", "focus", "knn", "ridge", "kernel-ridge")
makers = {name: lambda problem, name=name: rule(name, problem, MATERIAL) for name in METHODS}


def test_held_out_anchors_become_new_tokens():
    out = np.array([3, 40, 41])
    found = held_out(PROBLEM, out)
    assert found.new.tolist() == PROBLEM.anchors_target[out].tolist()
    assert found.hidden.tolist() == PROBLEM.anchors_source[out].tolist()
    assert len(found.anchors_source) == len(PROBLEM.anchors_source) - 3
    assert not set(found.anchors_source) & set(found.hidden)
    np.testing.assert_array_equal(found.plm_new, PROBLEM.plm_anchors[out])
    np.testing.assert_array_equal(found.aux_new, PROBLEM.aux_anchors[out])
    row = {int(t): r for t, r in zip(PROBLEM.anchors_target, PROBLEM.plm_anchors, strict=True)}
    for token, plm in zip(found.anchors_target.tolist(), found.plm_anchors, strict=True):
        np.testing.assert_array_equal(plm, row[token])


def test_a_twin_of_a_held_out_token_is_no_anchor():
    """Two target tokens with one source row: while one is held out, the other would be the answer."""
    ids = PROBLEM.anchors_source.copy()
    ids[7] = ids[3]
    found = held_out(replace(PROBLEM, anchors_source=ids), np.array([3]))
    assert len(found.anchors_source) == len(ids) - 2 and ids[3] not in found.anchors_source
    parts = list(folds(replace(PROBLEM, anchors_source=ids)))
    assert len(np.unique(ids[np.concatenate(parts)])) == sum(map(len, parts)) == 88  # four folds of 22, of 89 rows


def test_folds_are_small_disjoint_and_follow_the_seed():
    parts = list(folds(PROBLEM, seed=5))
    assert [len(part) for part in parts] == [22] * 4  # of 90
    assert len(np.unique(np.concatenate(parts))) == 88
    again, other = (np.concatenate(list(folds(PROBLEM, seed=seed))) for seed in (5, 6))
    np.testing.assert_array_equal(np.concatenate(parts), again)
    assert not np.array_equal(again, other)
    few = list(folds(PROBLEM, most=20))
    assert [len(part) for part in few] == [20]
    with pytest.raises(UserError, match="7 anchors"):
        list(folds(held_out(PROBLEM, np.arange(83))))


def test_predictions_against_loops():
    """Every number written once more, a token at a time, in float64."""
    problem = held_out(PROBLEM, np.arange(0, 90, 4))
    found_rule = rule("ridge", problem, MATERIAL)
    candidates = rivals(problem, most=70)
    got = predictions(problem, found_rule, TABLE, candidates)
    rows = rows_of(found_rule, TABLE, len(problem.new)).astype(np.float64)
    table = TABLE.astype(np.float64)
    mean = np.mean([table[i] for i in problem.anchors_source], axis=0)
    cos = lambda x, y: x @ y / np.sqrt(x @ x) / np.sqrt(y @ y)  # noqa: E731
    for i, (p, hidden) in enumerate(zip(rows, problem.hidden.tolist(), strict=True)):
        t = table[hidden]
        near = cos(p - mean, t - mean)
        better = [c for c in candidates.tolist() if c != hidden and cos(p - mean, table[c] - mean) > near]
        want = (near, cos(p, t), sum((p - t) ** 2), sum((t - mean) ** 2), 1 + len(better))
        np.testing.assert_allclose(
            (got.cosine[i], got.cosine_raw[i], got.error[i], got.spread[i], got.rank[i]), want, rtol=1e-5
        )
        np.testing.assert_allclose(got.relative[i], np.sqrt(want[2] / (t @ t)), rtol=1e-5)
        np.testing.assert_allclose(got.norm[i], np.linalg.norm(p - mean), rtol=1e-5)
    assert len(candidates) == 70 and set(got.rank.tolist()) != {1.0}


def test_the_truth_scores_one_and_the_mean_zero():
    truth = lambda p: Given(TABLE[p.hidden])  # noqa: E731
    mean = lambda p: Given(np.repeat(TABLE[p.anchors_source].mean(axis=0)[None], len(p.new), 0))  # noqa: E731
    found, _, _ = score(PROBLEM, {"mean": mean, "truth": truth}, TABLE)
    assert list(found) == ["truth", "mean"]
    best = found["truth"]
    assert best["r2"] == best["hit1"] == best["mrr"] == 1 and abs(best["cosine"] - 1) < 1e-6
    assert abs(best["norm_ratio"] - 1) < 1e-6 and best["relative_error"] < 1e-6
    assert abs(found["mean"]["r2"]) < 1e-6 and found["mean"]["norm_ratio"] < 1e-5
    assert best["behind"]["difference"] == 0
    np.testing.assert_allclose(found["mean"]["behind"]["difference"], 1 - found["mean"]["mrr"], atol=1e-9)
    assert best["interval"]["r2"] == (1.0, 1.0)


def test_scores_are_the_same_bits_for_the_same_seed():
    first, again, other = (json.dumps(score(PROBLEM, makers, TABLE, seed=seed)) for seed in (0, 0, 1))
    assert first == again != other


def test_better_rules_score_better():
    found, _, skipped = score(PROBLEM, makers, TABLE)
    assert not skipped and next(iter(found)) in ("ridge", "kernel-ridge")
    assert max(found, key=lambda name: found[name]["r2"]) == "kernel-ridge"  # the rows are no linear function
    values = [s["mrr"] for s in found.values()]
    assert values == sorted(values, reverse=True)
    low, high = found["kernel-ridge"]["interval"]["r2"]
    assert low < found["kernel-ridge"]["r2"] < high
    behind = found["mean"]["behind"]
    assert behind["interval"][0] < behind["difference"] < behind["interval"][1] and behind["interval"][0] > 0


@pytest.mark.parametrize("name", METHODS)
def test_no_rule_sees_the_answer(name):
    """The held-out rows are replaced by others in the table: what a rule says about them must not change."""
    problem = held_out(PROBLEM, np.arange(0, 90, 5))
    changed = TABLE.copy()
    changed[problem.hidden] = 1000 * np.random.default_rng(1).normal(size=(len(problem.hidden), TABLE.shape[1]))
    found = rule(name, problem, MATERIAL)
    np.testing.assert_array_equal(rows_of(found, TABLE, 18), rows_of(found, changed, 18))


def test_what_a_method_cannot_do_is_said():
    found, _, skipped = score(replace(PROBLEM, aux_new=None, aux_anchors=None), makers, TABLE)
    assert set(skipped) == {"salt", "focus"} and "--aux" in skipped["salt"]
    assert set(found) == set(METHODS) - set(skipped)


def test_bootstrap_resamples_tokens():
    rng = np.random.default_rng(0)
    numbers, weights = rng.normal(size=50), rng.uniform(1, 2, 50)
    samples = Bootstrap(50)
    assert (samples.counts_bn.sum(axis=1) == 50).all()
    drawn = np.repeat(np.arange(50), samples.counts_bn[3].astype(int))
    np.testing.assert_allclose(samples.ratio(numbers, weights)[3], numbers[drawn].sum() / weights[drawn].sum())
    # the bootstrap's deviation of a mean is the textbook's
    np.testing.assert_allclose(samples.mean(numbers).std(), numbers.std() / np.sqrt(50), rtol=0.1)


def test_weights_make_held_out_tokens_look_like_new_ones():
    target = vocabulary(["a", "b", "cc", " dd", " ddd", " eee", "f", "g"])
    problem, _, _ = posed(n=4)
    held = np.array([0, 1, 2, 4, 5])
    # new: one letter, " dd" that no held-out token is like, and two words
    found = shift(replace(problem, target=target, new=np.array([6, 3, 4, 5], np.int32)), held)
    # classes: "1" has 2/5 of the held-out tokens and 1/4 of the new ones, "cc" 1/5 and none, " ddd" 2/5 and 1/2
    raw = np.array([0.625, 0.625, 0, 1.25, 1.25])
    np.testing.assert_allclose(found.weights, raw / raw.mean())
    assert found.record["uncovered"] == 0.25 and found.record["word_start"] == {"held_out": 0.4, "new": 0.75}
    np.testing.assert_allclose(found.record["effective"], raw.sum() ** 2 / (raw**2).sum())


def test_bands_by_frequency_and_script():
    texts = ["haus", "дом", "12", "بيت"] * 30
    ids = np.random.default_rng(0).permutation(120)
    found = bands(vocabulary(texts), ids)
    assert [int(mask.sum()) for mask in found["frequency"].values()] == [40, 40, 40]
    assert set(ids[found["frequency"]["frequent"]]) == set(range(40))
    assert {name: int(mask.sum()) for name, mask in found["script"].items()} == {
        "Arabic": 30,
        "Cyrillic": 30,
        "Latin": 30,
        "other": 30,
    }
    counts = np.arange(120)  # in this text the last tokens are the most frequent
    assert set(ids[bands(vocabulary(texts), ids, counts)["frequency"]["frequent"]]) == set(range(80, 120))
    assert script("##straße") == "Latin" and script("...") == "other"
