"""The moving average of what learns: its formula, what it costs, that it is resumed, scored and exported."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from safetensors.numpy import load_file
from test_train_loop import BASE, bits, fresh_batches, fresh_model, killed, lines, new_run, stored, table_mean
from training import settings

from saltjax import api
from saltjax.errors import UserError
from saltjax.train import checkpoint, optimiser
from saltjax.train.best import best_step
from saltjax.train.ema import with_means
from saltjax.train.loop import train
from saltjax.train.sharding import leaves

pytestmark = pytest.mark.filterwarnings("ignore:Sharding info not provided")  # of loading all, to compare it

EMA = ("steps=6", "ema=0.6", "eval_every=3", "checkpoint_every=1", "keep_checkpoints=9")
STAGES = ("stages=[{until: 3, train: embeddings}]", "trainable=embeddings+layers.mlp.up@1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a stage, in which first the tables and then also a part of layer 1 learn."""
    run = new_run(tmp_path_factory.mktemp("run"), *EMA, *STAGES)
    return run, train(fresh_model(), fresh_batches(), run, table_mean)


def oracle(values: list[np.ndarray], ema: float) -> np.ndarray:
    mean = np.asarray(values[0], np.float64)
    for t, value in enumerate(values[1:]):
        d = min(ema, (1 + t) / (10 + t))
        mean = d * mean + (1 - d) * value
    return mean


def test_the_mean_follows_each_parameter_from_its_first_step(run):
    run, _ = run
    at = [dict(leaves(stored()[1]))]
    at += [dict(leaves(checkpoint.load_params(run.checkpoints, step)[1])) for step in range(1, 7)]
    means = checkpoint.load_means(run.checkpoints, 6)
    assert set(means) == {"embed.table", "head.table", "layers.mlp.up"}
    np.testing.assert_allclose(means["embed.table"], oracle([x["embed.table"] for x in at], 0.6), rtol=1e-5, atol=1e-7)
    up = [x["layers.mlp.up"][1:2] for x in at[3:]]  # joined after step 3
    np.testing.assert_allclose(means["layers.mlp.up"], oracle(up, 0.6), rtol=1e-5, atol=1e-7)
    assert not np.allclose(means["embed.table"], at[6]["embed.table"], atol=1e-4)


def test_held_out_text_is_scored_with_both(run):
    run, result = run
    assert set(result.valid) == {"mean", "mean (ema)"}
    tables = result.params["embed"]["table"], checkpoint.load_means(run.checkpoints, 6)["embed.table"]
    assert result.valid == {name: float(jnp.abs(x).mean()) for name, x in zip(result.valid, tables, strict=True)}


def test_training_itself_is_as_without(run, tmp_path):
    without = new_run(tmp_path, *EMA[:1], *EMA[2:], *STAGES)
    result = train(fresh_model(), fresh_batches(), without)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-7), run[1].params, result.params)


def test_a_killed_run_resumes_to_the_same_means(run, tmp_path):
    again = killed(run[0], tmp_path / "run", 2)
    train(fresh_model(), fresh_batches(), again, table_mean)
    assert lines(again) == lines(run[0])
    assert bits(again, 6) == bits(run[0], 6)


def test_it_costs_four_bytes_a_number_that_learns():
    params = {"a": jnp.ones((3, 5)), "b": jnp.ones((7,))}
    mask = {"a": True, "b": False}
    size = [
        sum(x.nbytes for x in jax.tree.leaves(optimiser.init(params, mask, settings(f"ema={ema}")))) for ema in (0, 0.9)
    ]
    assert size[1] - size[0] == 15 * 4 + 4
    states = optimiser.init(params, mask, settings("ema=0.9"))
    jax.tree.map(np.testing.assert_array_equal, with_means(params, states, mask), params)


def test_the_best_checkpoint_is_that_of_the_parameters():
    scores = {1: {"de": 2.0, "de (ema)": 9.0}, 2: {"de": 3.0, "de (ema)": 1.0}}
    assert best_step(scores, "mean") == 1
    assert best_step(scores, "de (ema)") == 2


def test_it_is_exported(tmp_path):
    source, text = tmp_path / "llm", tmp_path / "de.txt"
    zoo.llama(source, dtype="float32")
    text.write_text("\n".join(zoo.sentences("de", 40)) + "\n", encoding="utf-8")
    few = ["steps=2", "seq_len=16", "ema=0.5", "learning_rate=1e-2", "trainable=embeddings", f"cache={tmp_path}"]
    api.adapt(source, tmp_path / "run", text=[text], overrides=[*BASE, *few])
    api.export(tmp_path / "run", tmp_path / "out", ema=True)
    mean = checkpoint.load_means(tmp_path / "run" / "checkpoints", 2)["embed.table"]
    found = load_file(tmp_path / "out" / "model.safetensors")["model.embed_tokens.weight"]
    np.testing.assert_array_equal(found, np.asarray(mean)[: len(found)])
    plain = tmp_path / "plain"
    api.adapt(source, plain, text=[text], overrides=[*BASE, "steps=0", "seq_len=16", f"cache={tmp_path}"])
    with pytest.raises(UserError, match="no moving averages"):
        api.export(plain, tmp_path / "none", ema=True)
