"""Frozen layers and frozen parts of layers cost neither weight gradients nor moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file
from training import batch, fresh, settings, stored

from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import abstract_model
from saltjax.models.model import Model
from saltjax.train.config import MeshConfig
from saltjax.train.forward import decoder_forward
from saltjax.train.mesh import make_mesh
from saltjax.train.sharding import leaves
from saltjax.train.step import abstract_state, global_batch, loss_sums, make_step, start
from saltjax.train.sweep import Stack, runs
from saltjax.train.trainable import count, join, select, trainable

ONE = make_mesh(MeshConfig(1, 1, 1))


def test_runs():
    full, none = Stack(jnp.zeros(5), None, (0, 1, 2, 3, 4)), Stack(jnp.zeros(5), None, ())
    assert runs({"a": full, "b": none}, 5) == [(0, 5)]
    assert runs({"a": full, "b": Stack(jnp.zeros(5), None, (0, 1, 4))}, 5) == [(0, 2), (2, 4), (4, 5)]
    both = {"a": Stack(jnp.zeros(5), None, (0,)), "b": Stack(jnp.zeros(5), None, (1, 2))}
    assert runs(both, 5) == [(0, 1), (1, 3), (3, 5)]


@pytest.mark.parametrize(
    ("spec", "mesh", "remat"),
    [
        ("layers.mlp.up@0,1+layers.mlp.down@1+embeddings", (1, 1, 1), "none"),
        ("layers:0,-1+layers.attn.q", (1, 2, 2), "block"),
    ],
)
def test_loss_and_gradient_in_runs_are_those_of_the_whole(spec, mesh, remat):
    model, params = stored()
    mask, on = trainable(params, spec), make_mesh(MeshConfig(*mesh))
    forward = decoder_forward(model, jnp.float32, remat)
    rows = global_batch(batch(0), on)

    def loss(learning, base):
        sums = loss_sums(forward, join(base, learning, mask), rows, on)
        return sums.objective / sums.number

    def whole(base):
        sums = loss_sums(forward, base, rows, on)
        return sums.objective / sums.number

    value, grads = jax.jit(jax.value_and_grad(loss))(select(params, mask), params)
    wanted, all_grads = jax.jit(jax.value_and_grad(whole))(params)
    assert float(value) == pytest.approx(float(wanted), rel=1e-6)
    expected = select(jax.tree.map(np.asarray, all_grads), mask)
    assert set(grads) == set(expected)
    for path, grad in grads.items():
        np.testing.assert_allclose(grad, expected[path], atol=3e-7, rtol=1e-4, err_msg=path)


def abstract(layers: int) -> Model:
    """A Llama in miniature: 4 d^2 in attention, 3 x 2.7 d^2 in the MLP, a vocabulary of about one layer."""
    config = DecoderConfig(
        vocab_size=512, hidden_size=128, layers=layers, heads=4, kv_heads=4, head_dim=32, mlp_size=344, max_positions=64
    )
    return Model(config, *abstract_model(config), {})


def cost(model: Model, spec: str) -> tuple[float, int]:
    """(flops of a compiled step without loops, bytes of the optimizer's state)."""
    mask, run = trainable(model.params, spec), settings()
    state = abstract_state(model.params, mask, run, ONE)
    rows = {name: jax.ShapeDtypeStruct((2, 64), jnp.int32) for name in ("tokens", "positions", "segments")}
    forward = decoder_forward(model, jnp.float32, unroll=True)
    step = make_step(forward, mask, run, ONE, state).lower(state, rows).compile()
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.opt_state))
    return step.cost_analysis()["flops"], size


def test_what_is_frozen_costs_no_gradient_and_no_moments():
    """A full step is 3 parts: forward, gradients of the activations, gradients of the weights."""
    model = abstract(8)
    full, full_bytes = cost(model, "full")
    low, low_bytes = cost(model, "layers.mlp.up@0,1+layers.mlp.down@0,1")
    high, high_bytes = cost(model, "layers.mlp.up@-2,-1+layers.mlp.down@-2,-1")
    assert low < 0.72 * full and high < 0.5 * full  # below the lowest layer that learns nothing is differentiated
    for spec_bytes, spec in ((low_bytes, "layers.mlp.up@0,1+layers.mlp.down@0,1"), (full_bytes, "full")):
        number = count(model.params, trainable(model.params, spec))
        assert 8 * number <= spec_bytes < 8 * number + 100
    assert high_bytes == low_bytes


def test_a_step_moves_only_the_layers_and_elements_that_learn(tmp_path):
    model, params = fresh()
    before = jax.tree.map(np.asarray, params)
    gate = np.zeros(before["layers"]["mlp"]["gate"].shape, bool)
    gate[1, :, 5] = gate[3, :, 30] = True  # two neurons
    save_file({"layers.mlp.gate": gate}, tmp_path / "masks.safetensors")
    chosen = {path: np.zeros(x.shape, bool) for path, x in leaves(before)}
    chosen["layers.mlp.gate"], chosen["layers.mlp.up"][1:3] = gate, True
    spec = f"layers.mlp.up@1,2+elements:{tmp_path}/masks.safetensors"
    mask, on, run = trainable(params, spec), make_mesh(MeshConfig(1, 2, 2)), settings("accumulate=2")
    state = start(params, mask, run, on)
    assert state.opt_state["layers.mlp.gate"][0].mu.shape == (2, 16)
    step = make_step(decoder_forward(model, jnp.bfloat16, "dots"), mask, run, on, state)
    state, _ = step(state, global_batch(batch(0), on))
    for (path, now), (_, then) in zip(leaves(state.params), leaves(before), strict=True):
        np.testing.assert_array_equal(np.asarray(now) != then, chosen[path], err_msg=path)
