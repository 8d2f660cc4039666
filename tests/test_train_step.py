"""The step on a mesh against one device, against optax's own AdamW, and what frozen parameters cost."""

import re
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import hidden_states, logits
from saltjax.models.model import Model, random_model
from saltjax.train import optimiser
from saltjax.train.config import MeshConfig, read_config
from saltjax.train.forward import decoder_forward
from saltjax.train.mesh import make_mesh
from saltjax.train.schedules import learning_rate
from saltjax.train.sharding import leaves, nested, param_shardings
from saltjax.train.step import global_batch, loss_sums, make_step, start
from saltjax.train.trainable import select, trainable

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "layers": 3,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 4,
    "mlp_size": 32,
    "max_positions": 32,
}
CONFIG = read_config(None, ["steps=10", "warmup_steps=2", "batch_size=8", "learning_rate=1e-2", "weight_decay=0.1"])


@cache
def stored() -> tuple[Model, dict]:
    model = random_model(DecoderConfig(**SIZES), 0, pad_vocab_to=8)
    return model, jax.tree.map(np.asarray, model.params)


def fresh() -> tuple[Model, dict]:
    """A model and a copy of its parameters that a step may use up."""
    model, params = stored()
    return model, jax.tree.map(jnp.array, params)


def batch(seed: int) -> dict[str, np.ndarray]:
    """Packed windows; uneven numbers of targets, so that a mean of devices' means would be wrong."""
    rng = np.random.default_rng(seed)
    segments = np.zeros((8, 12), np.int32)
    for row, used in enumerate(rng.integers(3, 13, 8)):
        segments[row, :used] = 1
        segments[row, used // 2 : used] = 2
    starts = np.argmax(segments[:, :, None] == segments[:, None, :], axis=2)
    positions = np.arange(12) - starts
    return {
        "tokens": rng.integers(0, 50, (8, 12)).astype(np.int32),
        "segments": segments,
        "positions": positions.astype(np.int32),
    }


@cache
def gradient(*sizes: int):
    """Loss and gradient of all parameters on a mesh, compiled."""
    model, mesh = stored()[0], make_mesh(MeshConfig(*sizes))
    forward = decoder_forward(model, jnp.float32)

    def mean(params, rows):
        sums = loss_sums(forward, params, rows, mesh)
        return sums.objective / sums.number

    return jax.jit(jax.value_and_grad(mean))


def test_loss_and_gradients_on_a_mesh_are_those_of_one_device():
    found = []
    for sizes in ((1, 1, 1), (2, 2, 2)):
        mesh = make_mesh(MeshConfig(*sizes))
        _, params = fresh()
        params = jax.device_put(params, param_shardings(params, mesh))
        loss, grads = gradient(*sizes)(params, global_batch(batch(0), mesh))
        found.append((float(loss), {path: np.asarray(x) for path, x in leaves(grads)}))
    (loss, grads), (mesh_loss, mesh_grads) = found
    model, params = fresh()
    rows = batch(0)
    inputs = [jnp.array(rows[name]) for name in ("tokens", "positions", "segments")]
    hidden = hidden_states(model.graphdef, params, *inputs)
    scores = np.asarray(jax.nn.log_softmax(logits(model.config, params, hidden)))
    chosen = np.take_along_axis(scores[:, :-1], rows["tokens"][:, 1:, None], -1)[..., 0]
    counts = (np.diff(rows["segments"]) == 0) & (rows["segments"][:, 1:] > 0)
    assert loss == pytest.approx(-chosen[counts].mean(), rel=1e-6)
    assert mesh_loss == pytest.approx(loss, rel=1e-6)
    for path, grad in grads.items():
        assert np.abs(grad).max() > 1e-6, path
        np.testing.assert_allclose(mesh_grads[path], grad, atol=2e-7, rtol=1e-4, err_msg=path)


def test_steps_are_those_of_optax_and_compile_once_and_stay_sharded():
    model, params = fresh()
    mesh = make_mesh(MeshConfig(2, 2, 2))
    forward = decoder_forward(model, jnp.float32)
    mask = trainable(params, "full")

    # The oracle: optax's clip and AdamW on the whole tree, on one device.
    one = make_mesh(MeshConfig(1, 1, 1))
    decays = nested({path: not path.endswith("norm.scale") for path, _ in leaves(params)})
    oracle = optax.chain(
        optax.clip_by_global_norm(CONFIG.clip_norm),
        optax.adamw(
            lambda count: learning_rate(count, CONFIG),
            b1=CONFIG.beta1, b2=CONFIG.beta2, weight_decay=CONFIG.weight_decay, mask=decays,
        ),
    )  # fmt: skip
    expected = jax.device_put(jax.tree.map(jnp.array, params), jax.devices()[0])
    oracle_state = oracle.init(expected)
    oracle_update = jax.jit(oracle.update)

    state = start(params, mask, CONFIG, mesh)
    step = make_step(forward, mask, CONFIG, mesh, state)
    for number in range(3):
        rows = batch(number)
        loss, grads = gradient(1, 1, 1)(expected, global_batch(rows, one))
        updates, oracle_state = oracle_update(grads, oracle_state, expected)
        expected = optax.apply_updates(expected, updates)
        used = state
        state, metrics = step(state, global_batch(rows, mesh))
        assert float(metrics["loss"]) == pytest.approx(float(loss), rel=1e-5)
        assert float(metrics["grad_norm"]) == pytest.approx(float(optax.tree.norm(grads)), rel=1e-4)
        assert metrics["tokens"] == (np.diff(rows["segments"]) == 0)[rows["segments"][:, 1:] > 0].sum()
        assert all(x.is_deleted() for x in jax.tree.leaves(used.params)), "the state was not donated"
    assert step._cache_size() == 1
    for path, x in leaves(expected):
        # Adam divides by the root of tiny squares: noise in a gradient near zero is a share of the rate, not of it.
        np.testing.assert_allclose(dict(leaves(state.params))[path], x, atol=2e-4, rtol=1e-4, err_msg=path)

    for path, x in leaves(state.params):
        for moment in (state.opt_state[path][0].mu, state.opt_state[path][0].nu):
            assert moment.sharding == x.sharding, path
    table = state.opt_state["embed.table"][0].mu
    assert {shard.data.shape for shard in table.addressable_shards} == {(28, 8)}  # 56 x 16 over tensor=2 and fsdp=2


def test_a_step_keeps_the_batch_and_the_vocabulary_split():
    """A lookup in a table that is split both ways makes XLA gather the whole vocabulary or replicate the batch."""
    model, params = fresh()
    mesh = make_mesh(MeshConfig(2, 2, 2))
    mask = trainable(params, "full")
    state = start(params, mask, CONFIG, mesh)
    step = make_step(decoder_forward(model, jnp.float32), mask, CONFIG, mesh, state)
    program = step.lower(state, global_batch(batch(0), mesh)).compile().as_text()
    assert "f32[2,12,28]" in program  # the logits of 2 of 8 windows for 28 of 56 rows
    assert not re.findall(r"f32\[(?:8|4),12,\d+|f32\[[\d,]*56\b", program)


def test_frozen_parameters_cost_no_moments_and_do_not_move():
    model, params = fresh()
    mesh = make_mesh(MeshConfig(1, 2, 1))
    forward = decoder_forward(model, jnp.float32)
    before = jax.tree.map(np.asarray, params)
    mask = trainable(params, "embeddings+layers:0,-1")
    state = start(params, mask, CONFIG, mesh)
    shapes = {path: state.opt_state[path][0].mu.shape for path in state.opt_state}
    assert shapes == {path: x.shape for path, x in select(before, mask).items()}
    assert "norm.scale" not in shapes and shapes["layers.mlp.up"] == (2, 16, 32)
    step = make_step(forward, mask, CONFIG, mesh, state)
    state, _ = step(state, global_batch(batch(0), mesh))
    for (path, now), (_, then) in zip(leaves(state.params), leaves(before), strict=True):
        moved = [not np.array_equal(now[i], then[i]) for i in range(len(then))]
        if path.startswith("layers."):
            assert moved == [True, False, True], path
        else:
            assert any(moved) == (path != "norm.scale"), path


def test_frozen_body_costs_fewer_flops():
    model, params = stored()
    mesh = make_mesh(MeshConfig(1, 1, 1))

    def flops(spec: str) -> float:
        mask = trainable(params, spec)
        state = start(jax.tree.map(jnp.array, params), mask, CONFIG, mesh)
        step = make_step(decoder_forward(model, jnp.float32), mask, CONFIG, mesh, state)
        return step.lower(state, global_batch(batch(0), mesh)).cost_analysis()["flops"]

    assert flops("embeddings") < 0.9 * flops("full")


def test_bfloat16_computes_nearly_the_same_and_keeps_float32_masters():
    model, params = fresh()
    mesh = make_mesh(MeshConfig(1, 1, 1))
    rows = global_batch(batch(0), mesh)
    losses = []
    for dtype in (jnp.float32, jnp.bfloat16):
        forward = decoder_forward(model, dtype)
        losses.append(float(jax.jit(lambda p, b, f=forward: loss_sums(f, p, b, mesh).loss)(params, rows)))
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=1e-2)
    mask = trainable(params, "full")
    state = start(params, mask, CONFIG, mesh)
    after, metrics = jax.eval_shape(make_step(forward, mask, CONFIG, mesh, state), state, rows)
    assert {x.dtype for x in jax.tree.leaves(after) if x.ndim} == {jnp.dtype(jnp.float32)}
    assert metrics["loss"].dtype == jnp.float32


def test_without_a_clip_norm_nothing_is_clipped():
    config = read_config(None, ["clip_norm=0", "weight_decay=0", "beta1=0", "beta2=0"])
    params = {"norm": {"scale": jnp.ones(2)}}
    states = optimiser.init(params, {"norm.scale": True}, config)
    learning = {"norm.scale": jnp.ones(2)}
    grads = {"norm.scale": jnp.array([3e4, 4e4])}
    new, _, norm = optimiser.update(grads, states, learning, jnp.float32(0.5), config)
    assert norm == 5e4
    np.testing.assert_allclose(new["norm.scale"], 0.5)  # Adam without memory is the sign
