"""Kernel ridge regression against its closed form in float64, and leave-one-out against leaving one out."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from problems import posed, rows_of

from saltjax.errors import UserError
from saltjax.transfer import kernelridge
from saltjax.transfer.choose import rule
from saltjax.transfer.leaveoneout import leave_one_out

PROBLEM, MATERIAL, TABLE = posed()
wide = lambda x: np.asarray(x, np.float64)  # noqa: E731


def directions(new, anchors):
    """Less the anchors' mean, of length one."""
    mean = wide(anchors).mean(axis=0)
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    return unit(wide(new) - mean), unit(wide(anchors) - mean)


def cosines(*spaces):
    """(new to anchors, anchors to anchors), the mean over spaces."""
    pairs = [directions(*space) for space in spaces]
    return (
        np.mean([new @ anchors.T for new, anchors in pairs], axis=0),
        np.mean([anchors @ anchors.T for _, anchors in pairs], axis=0),
    )


def weights(towards, among, sharpness, noise):
    """Ordinary kriging: the weights of every new token, from the bordered system."""
    count = len(among)
    system = np.ones((count + 1, count + 1))
    system[:count, :count] = np.exp(sharpness * (among - 1)) + noise * np.eye(count)
    system[-1, -1] = 0
    right = np.concatenate([np.exp(sharpness * (towards - 1)), np.ones((len(towards), 1))], axis=1)
    return np.linalg.solve(system, right.T)[:count].T


PLM = (PROBLEM.plm_new, PROBLEM.plm_anchors)
AUX = (PROBLEM.aux_new, PROBLEM.aux_anchors)
ANCHORED = wide(TABLE[PROBLEM.anchors_source])


@pytest.mark.parametrize("space, described", [("plm", [PLM]), ("aux", [AUX]), ("both", [PLM, AUX])])
@pytest.mark.parametrize("sharpness, noise", [(3.0, 0.2), (0.7, 0.02)])
def test_rows_are_the_closed_form(space, described, sharpness, noise):
    found = rule("kernel-ridge", PROBLEM, MATERIAL, {"space": space, "sharpness": sharpness, "noise": noise})
    want = weights(*cosines(*described), sharpness, noise) @ ANCHORED
    got = rows_of(found, TABLE, len(PROBLEM.new))
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


def test_rows_move_and_grow_with_the_table():
    """Weights sum to one and do not depend on the table: a head whose rows lie elsewhere is served as well."""
    found = rule("kernel-ridge", PROBLEM, MATERIAL, {"sharpness": 2.0, "noise": 0.1})
    rows = rows_of(found, TABLE, len(PROBLEM.new))
    moved = rows_of(found, 3 * TABLE + np.arange(20, dtype=np.float32), len(PROBLEM.new))
    np.testing.assert_allclose(moved, 3 * rows + np.arange(20), rtol=2e-4, atol=2e-4)
    one = rows_of(found, np.ones((len(TABLE), 1), np.float32), len(PROBLEM.new))  # a bias is one column
    np.testing.assert_allclose(one, 1, atol=1e-5)


@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_leave_one_out_leaves_one_out(noise):
    _, among = cosines(PLM)
    gram = np.exp(2 * (among - 1))
    got = next(leave_one_out(gram, [noise], ANCHORED))
    for i in range(0, len(among), 7):
        rest = np.delete(np.arange(len(among)), i)
        w = weights(among[i : i + 1][:, rest], among[np.ix_(rest, rest)], 2.0, noise)[0]
        np.testing.assert_allclose(got[i], ANCHORED[i] - w @ ANCHORED[rest], atol=1e-9)


def test_settings_are_those_that_bring_the_true_row_nearest():
    _, plm = cosines(PLM)
    _, both = cosines(PLM, AUX)
    mean = ANCHORED.mean(axis=0)
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    ranks = {}
    for space, among in (("plm", plm), ("both", both)):
        for sharpness in kernelridge.SHARPNESSES:
            for noise in kernelridge.NOISES:
                reciprocal = []
                for i in range(len(among)):
                    rest = np.delete(np.arange(len(among)), i)
                    w = weights(among[i : i + 1][:, rest], among[np.ix_(rest, rest)], sharpness, noise)[0]
                    near = unit(ANCHORED - mean) @ unit(w @ ANCHORED[rest] - mean)
                    reciprocal.append(1 / np.sum(near >= near[i]))
                ranks[space, sharpness, noise] = np.mean(reciprocal)
    found = rule("kernel-ridge", PROBLEM, MATERIAL, {"space": "auto"}).settings(TABLE)
    np.testing.assert_allclose(found.score, max(ranks.values()), rtol=1e-6)
    np.testing.assert_allclose(ranks[found[:3]], found.score, rtol=1e-6)
    assert len(set(ranks.values())) > 5


def test_a_bias_takes_the_settings_of_least_error():
    bias = TABLE[:, :1]
    found = rule("kernel-ridge", PROBLEM, MATERIAL).settings(bias)
    _, among = cosines(PLM)

    def error(sharpness, noise):
        return np.square(next(leave_one_out(np.exp(sharpness * (among - 1)), [noise], ANCHORED[:, :1]))).sum()

    errors = [error(*pair) for pair in itertools.product(kernelridge.SHARPNESSES, kernelridge.NOISES)]
    np.testing.assert_allclose(-found.score, min(errors), rtol=1e-5)
    np.testing.assert_allclose(error(*found[1:3]), min(errors), rtol=1e-5)


def test_some_settings_can_be_given():
    found = rule("kernel-ridge", PROBLEM, MATERIAL, {"noise": 0.123}).settings(TABLE)
    assert found.noise == 0.123 and found.sharpness in kernelridge.SHARPNESSES and found.space == "plm"


def test_wide_tables_are_seen_through_a_projection(monkeypatch):
    monkeypatch.setattr(kernelridge, "SEEN", 8)
    exact = rule("kernel-ridge", PROBLEM, MATERIAL)
    found = exact.settings(TABLE)
    assert found == exact.settings(TABLE)  # the same directions every time
    monkeypatch.setattr(kernelridge, "SEEN", 512)
    assert 0.3 < found.score < exact.settings(TABLE).score < 1


def test_beyond_the_limit_centres_stand_for_all(monkeypatch):
    """`min |Y - K c - b|^2 + noise c'K_mm c`, by least squares on stacked equations."""
    options = {"sharpness": 1.5, "noise": 0.3}
    exact = rows_of(rule("kernel-ridge", PROBLEM, MATERIAL, options), TABLE, len(PROBLEM.new))
    monkeypatch.setattr(kernelridge, "EXACT", 50)
    all_centres = rows_of(rule("kernel-ridge", PROBLEM, MATERIAL, options), TABLE, len(PROBLEM.new))
    np.testing.assert_allclose(all_centres, exact, atol=1e-4)

    monkeypatch.setattr(kernelridge, "CENTRES", 35)
    got = rows_of(rule("kernel-ridge", PROBLEM, MATERIAL, options), TABLE, len(PROBLEM.new))
    chosen = np.sort(np.random.default_rng(MATERIAL.seed).permutation(90)[:35])
    towards, among = (np.exp(1.5 * (cos - 1))[:, chosen] for cos in cosines(PLM))
    values, vectors = np.linalg.eigh(among[chosen])
    root = vectors * np.sqrt(np.maximum(values, 0))
    system = np.block([[among, np.ones((90, 1))], [np.sqrt(0.3) * root.T, np.zeros((35, 1))]])
    solution = np.linalg.lstsq(system, np.concatenate([ANCHORED, np.zeros((35, 20))]), rcond=1e-14)[0]
    want = towards @ solution[:-1] + solution[-1]
    np.testing.assert_allclose(got, want, atol=1e-4)
    assert np.abs(got - exact).max() > 1e-2  # it is not the same thing


def test_a_word_without_a_vector_says_nothing():
    """A zero auxiliary vector is no direction: the token goes by its PLM row, at half the similarity."""
    aux = PROBLEM.aux_new.copy()
    aux[4] = 0
    found = rule("kernel-ridge", replace(PROBLEM, aux_new=aux), MATERIAL, {"space": "both"})
    new, _ = found.spaces["both"]
    plm, _ = rule("kernel-ridge", PROBLEM, MATERIAL).spaces["plm"]
    np.testing.assert_allclose(new[4], np.concatenate([plm[4], np.zeros(8)]) / np.sqrt(2), rtol=1e-6)


def test_mistakes():
    for options, said in (
        ({"space": "glove"}, "space=glove"),
        ({"noise": -1}, "must not be negative"),
    ):
        with pytest.raises(UserError, match=said):
            rule("kernel-ridge", PROBLEM, MATERIAL, options)
    with pytest.raises(UserError, match="there are auto, plm"):
        rule("kernel-ridge", posed(aux=False)[0], MATERIAL, {"space": "both"})


def test_few_anchors_take_the_usual_settings():
    problem, material, table = posed(s=6)
    found = rule("kernel-ridge", problem, material)
    assert found.settings(table)[:3] == ("plm", *kernelridge.USUAL)
    assert rows_of(found, table, 30).shape == (30, 20)
