"""Which neurons belong to a language: every method against its own words in plain loops, over PyTorch's activations."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from neuronal import LANGUAGES, activations, files, prepared

from saltjax.errors import UserError
from saltjax.models.decoder import tapped
from saltjax.models.tap import Tap
from saltjax.neurons.compare import by_layer, jaccard, shared
from saltjax.neurons.lape import entropy, lape
from saltjax.neurons.methods import find
from saltjax.neurons.text import split
from saltjax.train.neuronsets import control


def plain_lape(probability, rate, filter_rate, bar_rate):
    """The six steps of the published algorithm, neuron by neuron; {(language, layer, neuron)}."""
    k, layers, size = probability.shape
    pool = sorted(float(p) for p in probability.ravel())
    threshold = pool[round(filter_rate * len(pool)) - 1]
    bar = pool[round(bar_rate * len(pool)) - 1]
    scored = []
    for layer in range(layers):
        for neuron in range(size):
            own = [float(probability[language, layer, neuron]) for language in range(k)]
            if not any(p > threshold for p in own):
                continue
            shares = [p / sum(own) for p in own]
            scored.append((-sum(q * math.log(q) for q in shares if q > 0), layer, neuron))
    chosen = sorted(scored)[: round(rate * layers * size)]
    return {
        (language, layer, neuron)
        for _, layer, neuron in chosen
        for language in range(k)
        if probability[language, layer, neuron] > bar
    }


def as_set(neurons):
    return set(map(tuple, np.argwhere(neurons).tolist()))


@pytest.mark.parametrize("rates", [(0.01, 0.95, 0.95), (0.2, 0.5, 0.8), (0.9, 0.9, 0.3)])
def test_lape_is_the_published_algorithm(rates):
    probability = np.random.default_rng(3).beta(0.4, 2, (4, 5, 40))
    probability[:, 1, :9] = 0
    assert as_set(lape(probability, *rates)) == plain_lape(probability, *rates)
    assert as_set(lape(probability, *rates))


def test_entropy():
    found = entropy(np.array([[0.5, 0.3, 0.0], [0.0, 0.3, 0.0], [0.0, 0.3, 0.0]]))
    assert found == pytest.approx([0, math.log(3), 0])


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    folder = tmp_path_factory.mktemp("neurons")
    directory = zoo.llama(folder / "m", dtype="float32", initializer_range=0.3)
    run, texts = prepared(directory, folder)
    paths = files(folder)
    return run, texts, {language: activations(directory, paths[language])["post"] for language in LANGUAGES}


def top(scores, rate):
    count = round(rate * scores[0].size)
    return [set(np.argsort(-own, axis=None, kind="stable")[:count].tolist()) for own in scores]


def flat(neurons):
    return [set(np.flatnonzero(own).tolist()) for own in neurons]


def test_lape_of_a_model(room):
    run, texts, truth = room
    found = find(run, texts, "lape", 0.1)
    probability = np.stack([(truth[language] > 0).mean(axis=1) for language in LANGUAGES])
    assert np.abs(found.scores - probability).max() < 2e-3
    assert as_set(found.neurons) == plain_lape(found.scores, 0.1, 0.95, 0.95)
    assert as_set(found.neurons)


@pytest.mark.parametrize("method", ["act-prob-zero", "act-abs-mean"])
def test_scores_without_a_threshold(room, method):
    run, texts, truth = room
    found = find(run, texts, method, 0.1)
    plain = {"act-prob-zero": lambda h: (h > 0).mean(axis=1), "act-abs-mean": lambda h: np.abs(h).mean(axis=1)}[method]
    scores = np.stack([plain(truth[language]) for language in LANGUAGES])
    assert np.abs(found.scores - scores).max() < 2e-3
    assert flat(found.neurons) == top(found.scores, 0.1)


@pytest.mark.parametrize("method", ["act-prob-mean", "act-prob-75p", "act-prob-90p-pooled"])
def test_scores_above_a_threshold(room, method):
    """The threshold from a third of the windows, the share above it from the others."""
    run, texts, _ = room

    @jax.jit
    def everything(batch):
        model = run.model
        return tapped(model.graphdef, model.params, **batch, dtype=jnp.float32, tap=Tap("post", lambda h, _: h))[1]

    def batches(text):
        for start in range(0, len(text.chosen), run.rows):
            batch = text.rows(start, run.rows)
            yield np.asarray(everything(batch))[:, batch["positions"] > 0]

    first = {language: list(batches(split(text)[0])) for language, text in texts.items()}
    second = {language: np.concatenate(list(batches(split(text)[1])), axis=1) for language, text in texts.items()}
    joined = {language: np.concatenate(own, axis=1) for language, own in first.items()}
    if method == "act-prob-mean":
        limits = {language: own.mean(axis=1) for language, own in joined.items()}
    elif method == "act-prob-75p":
        limits = {
            language: np.mean([np.quantile(one, 0.75, axis=1) for one in own], axis=0)
            for language, own in first.items()
        }
    else:  # each language weighs the same
        size = min(own.shape[1] for own in joined.values())
        rng = np.random.default_rng(0)
        pool = [own[:, rng.permutation(own.shape[1])[:size]] for own in joined.values()]
        limits = dict.fromkeys(texts, np.quantile(np.concatenate(pool, axis=1), 0.9, axis=1))
    scores = np.stack([(second[language] > limits[language][:, None]).mean(axis=1) for language in texts])
    found = find(run, texts, method, 0.1)
    assert np.abs(found.scores - scores).max() < (0.05 if "pooled" in method else 4e-3)
    assert flat(found.neurons) == top(found.scores, 0.1)
    spread = found.scores.max(axis=0) - found.scores.min(axis=0)
    if "pooled" in method:  # languages differ; by their own percentiles they hardly can
        assert spread.mean() > 0.02 and found.scores.mean() == pytest.approx(0.1, abs=0.02)


def test_sets_beside_one_another():
    neurons = np.zeros((3, 2, 6), bool)
    neurons[0, 0, :3] = neurons[1, 0, 2:5] = True
    neurons[1, 1, 0] = True
    assert by_layer(neurons).tolist() == [[3, 0], [3, 1], [0, 0]]
    assert shared(neurons).tolist() == [[3, 1, 0], [1, 4, 0], [0, 0, 0]]
    assert jaccard(neurons)[0, 1] == 1 / 6 and jaccard(neurons)[2, 2] == 0


def test_the_control_is_as_large_in_each_layer_and_apart():
    neurons = np.random.default_rng(0).random((4, 50)) < np.array([[0.0], [0.1], [0.5], [0.9]])
    drawn = control(neurons, 1)
    assert (drawn.sum(axis=1) == neurons.sum(axis=1)).all()
    assert not (drawn & neurons)[:2].any()
    assert np.array_equal(drawn, control(neurons, 1)) and not np.array_equal(drawn, control(neurons, 2))


def test_mistakes(room):
    run, texts, _ = room
    with pytest.raises(UserError, match="--method lap is not known; there are lape, act-prob-zero"):
        find(run, texts, "lap")
    with pytest.raises(UserError, match=r"--rate 1.5 is not a share"):
        find(run, texts, "lape", 1.5)
    with pytest.raises(UserError, match="compares languages"):
        find(run, {"en": texts["en"]}, "act-prob-90p-pooled")
    one = {"en": texts["en"]._replace(chosen=texts["en"].chosen[:1])}
    with pytest.raises(UserError, match="en: one window of text is too little for --method act-prob-mean"):
        find(run, one, "act-prob-mean")
