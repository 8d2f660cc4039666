"""The pass over text against PyTorch's activations; the sketch against sorting; interruption; meshes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from neuronal import LANGUAGES, ROWS, activations, files, prepared

from saltjax.errors import UserError
from saltjax.models.decoder import tapped
from saltjax.models.tap import Tap
from saltjax.neurons import collect as module
from saltjax.neurons.collect import Pass, check, collect, edges
from saltjax.neurons.ranks import quantiles
from saltjax.neurons.sketch import Sketch, pooled_quantile
from saltjax.neurons.state import read
from saltjax.neurons.statistics import Statistics
from saltjax.neurons.text import by_language, split
from saltjax.train.config import MeshConfig
from saltjax.train.mesh import make_mesh


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    folder = tmp_path_factory.mktemp("neurons")
    directory = zoo.llama(folder / "m", dtype="float32", initializer_range=0.3)
    return folder, directory


@pytest.fixture(scope="module")
def truth(room):
    folder, directory = room
    paths = files(folder)
    return {language: activations(directory, paths[language]) for language in ("en", "de")}


@pytest.mark.parametrize("point", ["pre", "post", "product"])
def test_counts_and_sums_are_pytorchs(room, truth, point):
    folder, directory = room
    run, texts = prepared(directory, folder, point)
    theirs = truth["de"][point].astype(np.float64)
    found = collect(run, texts["de"])
    assert found.tokens == theirs.shape[1] == texts["de"].tokens
    assert np.abs(found.positive - (theirs > 0).sum(axis=1)).max() <= 1  # a value of 1e-7 may lie on either side of 0
    assert found.positive.dtype == found.above.dtype == np.int64
    assert np.allclose(found.mean, theirs.mean(axis=1), atol=1e-5)
    assert np.allclose(found.absolute_mean, np.abs(theirs).mean(axis=1), atol=1e-5)
    assert np.allclose(found.low, theirs.min(axis=1), atol=1e-5)
    assert np.allclose(found.high, theirs.max(axis=1), atol=1e-5)
    exceeding = [(theirs > limits[:, None]).sum(axis=1) for limits in found.thresholds.swapaxes(0, 1)]
    exceeding = np.stack(exceeding, axis=1)
    assert np.abs(found.above - exceeding).max() <= 2


def test_a_quantiles_rank_is_within_the_bracket(room, truth):
    folder, directory = room
    run, texts = prepared(directory, folder)
    found, theirs = collect(run, texts["en"]), truth["en"]["post"]
    bound = max(found.sketch(layer).largest_bracket() for layer in range(2))
    assert 1 / 65 < bound < 0.2
    for percent in (5.0, 10.0, 50.0, 75.0, 90.0, 95.0):
        rank = (theirs <= found.quantile(percent)[:, None]).mean(axis=1)
        assert np.abs(rank - percent / 100).max() <= bound + 2 / found.tokens
        assert np.abs(rank - percent / 100).mean() < 0.01  # interpolation does better than the bound


def test_batch_quantiles_are_numpys(room):
    folder, directory = room
    run, texts = prepared(directory, folder)
    text = texts["vi"]
    found = collect(run, text, None, (75.0, 90.0))
    model, expected = run.model, []

    @jax.jit
    def everything(batch):
        return tapped(model.graphdef, model.params, **batch, dtype=jnp.float32, tap=Tap("post", lambda h, _: h))[1]

    for start in range(0, len(text.chosen), run.rows):
        batch = text.rows(start, run.rows)
        values = np.asarray(everything(batch))[:, batch["positions"] > 0]
        expected.append(np.quantile(values, (0.75, 0.9), axis=1).swapaxes(0, 1))
    assert found.batches == len(expected) > 2
    assert np.allclose(found.batch_quantiles, np.mean(expected, axis=0), atol=1e-5)


def test_an_interrupted_pass_goes_on_where_it_was(room, tmp_path, monkeypatch):
    folder, directory = room
    monkeypatch.setattr(module, "FLUSH", 1)
    run, texts = prepared(directory, folder)
    whole = collect(run._replace(states=tmp_path / "whole"), texts["de"], None, (90.0,))

    class Stop(Exception):
        pass

    def stop(done, of):
        if done >= 2 * ROWS:
            raise Stop

    run = run._replace(states=tmp_path / "parts")
    with pytest.raises(Stop):
        collect(run, texts["de"], None, (90.0,), stop)
    (state,) = run.states.iterdir()  # one file, no half-written one beside it
    assert read(state)[0] == 2 * ROWS
    seen = []
    again = collect(run, texts["de"], None, (90.0,), lambda done, of: seen.append(done))
    assert seen[0] == 3 * ROWS and seen[-1] == len(texts["de"].chosen)
    for name in ("above", "total", "absolute", "low", "high", "quantiles", "thresholds"):
        assert np.array_equal(getattr(again, name), getattr(whole, name)), name
    assert (again.tokens, again.batches) == (whole.tokens, whole.batches)
    collect(run, texts["de"], None, (90.0,), lambda done, of: pytest.fail("a finished pass was done again"))
    state.write_bytes(b"x")
    with pytest.raises(UserError, match="is damaged; remove it"):
        collect(run, texts["de"], None, (90.0,))


def test_the_state_belongs_to_its_inputs(room, tmp_path):
    folder, directory = room
    run, texts = prepared(directory, folder)
    run = run._replace(states=tmp_path)
    some = texts["de"]._replace(chosen=texts["de"].chosen[:ROWS])
    none = np.zeros((2, 0, 48), np.float32)
    for number, (one, text, thresholds) in enumerate(
        [
            (run, some, None),
            (run, some, none),
            (run, texts["en"]._replace(chosen=some.chosen), None),
            (run._replace(point="pre"), some, None),
            (run._replace(model_sha256="other"), some, None),
            (run, some._replace(chosen=some.chosen[:4]), None),
        ],
        start=1,
    ):
        collect(one, text, thresholds)
        assert len(list(tmp_path.iterdir())) == number


def test_one_device_and_a_mesh_agree(room, tmp_path):
    folder, directory = room
    found = []
    for config in (MeshConfig(1, 1, 1), MeshConfig(2, 2, 2)):
        mesh = make_mesh(config, jax.devices()[:1] if config.data == 1 else None)
        run, texts = prepared(directory, folder, mesh=mesh)
        run = run._replace(states=tmp_path / str(config.data))
        limits = np.zeros((2, 1, 48), np.float32) + 0.25
        found.append(collect(run, texts["vi"], limits))
    assert np.abs(found[0].above - found[1].above).max() <= 1
    assert np.allclose(found[0].total, found[1].total, atol=1e-3)


def test_counts_go_beyond_int32():
    thresholds = np.zeros((1, 1, 3), np.float32)
    one = Statistics.none(thresholds)
    many = Statistics(
        3 << 30, 1, thresholds, np.full((1, 1, 3), 3 << 30), *(np.ones((1, 3)),) * 2,
        *(np.zeros((1, 3), np.float32),) * 2, np.zeros((1, 0, 3)),
    )  # fmt: skip
    both = one + many + many
    assert both.tokens == 6 << 30 and (both.positive == 6 << 30).all()
    with pytest.raises(ValueError, match="different thresholds"):
        many + Statistics.none(thresholds + 1)


def test_sketches_merge_by_addition_and_pool():
    rng = np.random.default_rng(0)
    values = [rng.normal(0, 1, (4000, 5)), rng.exponential(2, (6000, 5)) + 1]
    grids = [np.quantile(one[:300], (np.arange(64) + 0.5) / 64, axis=0) for one in values]

    def sketch(numbers, grid):
        above = (numbers[None] > grid[:, None]).sum(axis=1)
        return Sketch(grid, above, numbers.min(axis=0), numbers.max(axis=0), len(numbers))

    halves = [(one[None] > grids[0][:, None]).sum(axis=1) for one in np.split(values[0], 2)]
    merged = Sketch(grids[0], sum(halves), values[0].min(axis=0), values[0].max(axis=0), 4000)
    whole = sketch(values[0], grids[0])
    assert np.array_equal(merged.ranks, whole.ranks)
    pair = [sketch(*one) for one in zip(values, grids, strict=True)]
    for share in (0.05, 0.5, 0.9):
        assert np.abs((values[0] <= whole.quantile(share)).mean(axis=0) - share).max() <= whole.largest_bracket()
        at = pooled_quantile(pair, share)
        rank = np.mean([(one <= at).mean(axis=0) for one in values], axis=0)  # equal weights, not 4000 and 6000
        assert np.abs(rank - share).max() < 0.01
    assert (
        np.array_equal(whole.quantile(0.0), values[0].min(axis=0)) and (whole.quantile(1.0) == values[0].max(0)).all()
    )


def test_a_value_that_is_taken_often_has_its_own_rank():
    """ReLU: most activations are 0, and so is the median."""
    numbers = np.array([[0.0]] * 70 + [[float(i)] for i in range(1, 31)])
    grid = np.quantile(numbers, (np.arange(8) + 0.5) / 8, axis=0)
    above = (numbers[None] > grid[:, None]).sum(axis=1)
    found = Sketch(grid, above, numbers.min(axis=0), numbers.max(axis=0), 100)
    assert found.quantile(0.5) == 0 and found.quantile(0.9) == pytest.approx(20, abs=4)
    assert found.largest_bracket() < 0.3


def test_text_by_language(room):
    folder, directory = room
    _, texts = prepared(directory, folder, tokens=60)
    for text in texts.values():
        before = text._replace(chosen=text.chosen[:-1]).tokens
        assert before < 60 <= text.tokens  # whole windows
    _, texts = prepared(directory, folder)
    first, second = split(texts["en"])
    assert sorted([*first.chosen, *second.chosen]) == list(texts["en"].chosen)
    assert abs(len(texts["en"].chosen) - 3 * len(first.chosen)) < 3
    assert by_language(["de=a=b.txt", "en=c", "de=d"]) == {"de": ["a=b.txt", "d"], "en": ["c"]}
    with pytest.raises(UserError, match="name the language too, as in --text de=x"):
        by_language(["x.txt"])


def test_mistakes(room):
    folder, directory = room
    run, texts = prepared(directory, folder)
    config = run.model.config
    with pytest.raises(UserError, match="--point after is not known; there are pre, post, product"):
        check(config, texts, "after", "m")
    with pytest.raises(UserError, match="seq_len=16 is more than the 8 positions of m"):
        check(replace(config, max_positions=8), texts, "post", "m")
    with pytest.raises(UserError, match=r"gives id \d+ in (en|de|vi), but the model has 100"):
        check(replace(config, vocab_size=100, vocab_rows=100), texts, "post", "m")
    broken = jax.tree.map(lambda x: x * np.inf, run.model.params)
    with pytest.raises(UserError, match="not finite"):
        collect(run._replace(model=run.model._replace(params=broken), model_sha256="broken"), texts["de"])


def test_edges_are_spread_over_the_values(room, truth):
    folder, directory = room
    run, texts = prepared(directory, folder)
    assert isinstance(run, Pass) and set(texts) == set(LANGUAGES)
    found, theirs = edges(run, texts["en"], 8), truth["en"]["post"]
    assert found.shape == (2, 8, 48) and (np.diff(found, axis=1) >= 0).all()
    share = (theirs[:, None] <= found[:, :, None]).mean(axis=2)
    assert np.abs(share - (np.arange(8)[:, None] + 0.5) / 8).max() < 0.2


@pytest.mark.parametrize("percents", [(90.0,), (0.0, 5.0, 50.0, 100.0), tuple(10.0 * i for i in range(10))])
def test_quantiles_of_some_of_the_tokens_are_numpys(percents):
    """Of values of every size and both signs, many of them equal; the last case is sorted for."""
    rng = np.random.default_rng(0)
    h = rng.normal(size=(3, 7, 6)).astype(np.float32) * np.float32([1, -1e10, 1e-30, 1e3, 1, 1])
    h[rng.random(h.shape) < 0.3] = 0
    h[..., 4], h[..., 5] = -0.25, np.where(h[..., 5] > 0, 1, -1)
    valid = rng.random((3, 7)) < 0.8
    found = np.asarray(jax.jit(quantiles, static_argnums=2)(h, valid, percents))
    expected = np.quantile(h[valid].astype(np.float64), np.array(percents) / 100, axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-36)
