"""Low-rank adapters: x W + s (x A) B is x (W + s A B), at less cost; merged they are the model itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_train_sweep import ONE, abstract
from training import batch, fresh, settings, stored

from saltjax.errors import UserError
from saltjax.train.config import MeshConfig
from saltjax.train.forward import decoder_forward
from saltjax.train.lora import merged, with_adapters
from saltjax.train.lowrank import LowRank, multiplied
from saltjax.train.mesh import make_mesh
from saltjax.train.sharding import leaves, nested
from saltjax.train.step import abstract_state, global_batch, make_step, start
from saltjax.train.trainable import trainable

LORA = ("trainable=lora", "lora.rank=2", "lora.alpha=6")


def adapted(config) -> dict:
    """Parameters with adapters that do something, as NumPy."""
    rng = np.random.default_rng(0)
    flat = dict(leaves(with_adapters(fresh()[1], config)))
    moved = {path: rng.normal(size=x.shape).astype(np.float32) * 0.2 for path, x in flat.items() if path.endswith(".b")}
    return jax.tree.map(np.asarray, nested({**flat, **moved}))


def test_adapters_begin_as_nothing_and_are_the_same_in_shape_alone():
    config = settings(*LORA)
    params = with_adapters(stored()[1], config)
    added = {path: x for path, x in leaves(params) if path.startswith("lora.")}
    assert {path: x.shape for path, x in added.items() if "attn.q" in path or "attn.o" in path} == {
        "lora.layers.attn.q.a": (4, 16, 2), "lora.layers.attn.q.b": (4, 2, 4, 4),
        "lora.layers.attn.o.a": (4, 4, 4, 2), "lora.layers.attn.o.b": (4, 2, 16),
    }  # fmt: skip
    assert len(added) == 14
    assert all(np.abs(x).max() == 0 if path.endswith("b") else 0.2 < np.abs(x).max() < 0.26 for path, x in added.items()
               if "mlp.up" in path)  # fmt: skip
    for path, x in leaves(merged(params, config)):
        np.testing.assert_array_equal(x, dict(leaves(params))[path])
    shapes = with_adapters(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), stored()[1]), config)
    assert {path: x.shape for path, x in leaves(shapes)} == {path: x.shape for path, x in leaves(params)}
    assert "lora" not in with_adapters(stored()[1], settings())


@pytest.mark.parametrize("equation", ["bd,dhk->bhk", "dhk,bd->hkb", "bd,dhk->khb"])
def test_a_product_with_a_low_rank_sum(equation):
    rng = np.random.default_rng(0)
    w, a, b, x = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((6, 2, 4), (6, 3), (3, 2, 4), (5, 6)))
    first = equation.startswith("dhk")

    def function(weights, x):
        return jnp.einsum(equation, *((weights["w"], x) if first else (x, weights["w"]))) + weights["w"].sum()

    found = multiplied(function, {"w": w, "lora.w.a": a, "lora.w.b": b}, 2.0)(x)
    np.testing.assert_allclose(found, function({"w": LowRank(w, a, 2 * b).dense()}, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("mesh", "remat"), [((1, 1, 1), "none"), ((1, 2, 2), "block")])
def test_a_step_has_the_loss_and_the_gradient_of_the_merged_model(mesh, remat):
    model, config, on = (
        stored()[0],
        settings(*LORA, "beta1=0", "clip_norm=0", "accumulate=2"),
        make_mesh(MeshConfig(*mesh)),
    )
    params, rows = adapted(config), batch(0)
    forward = decoder_forward(model, jnp.float32, remat, lora_scale=3.0)
    mask = trainable(params, "lora")
    state = start(params, mask, config, on)
    state, metrics = make_step(forward, mask, config, on, state)(state, global_batch(rows, on))

    plain = decoder_forward(model, jnp.float32)
    inputs = [jnp.asarray(rows[name]) for name in ("tokens", "positions", "segments")]
    valid = (rows["segments"][:, 1:] == rows["segments"][:, :-1]) & (rows["segments"][:, 1:] > 0)

    def whole(adapters):
        flat = {path: jnp.asarray(x) for path, x in leaves({**params, "lora": adapters})}
        base = {path: x for path, x in flat.items() if not path.startswith("lora.")}
        for path in base:
            if f"lora.{path}.a" in flat:
                pieces = [
                    jnp.tensordot(a, b, 1) for a, b in zip(flat[f"lora.{path}.a"], flat[f"lora.{path}.b"], strict=True)
                ]
                base[path] = base[path] + 3.0 * jnp.stack(pieces)
        base = nested(base)
        scores = jax.nn.log_softmax(plain.logits(base, plain.hidden(base, *inputs)))[:, :-1]
        return -(jnp.take_along_axis(scores, inputs[0][:, 1:, None], -1)[..., 0] * valid).sum() / valid.sum()

    value, grads = jax.jit(jax.value_and_grad(whole))(params["lora"])
    assert float(metrics["loss"]) == pytest.approx(float(value), rel=1e-6)
    for path, grad in leaves({"lora": grads}):
        np.testing.assert_allclose(state.opt_state[path][0].mu, grad, atol=1e-6, rtol=1e-4, err_msg=path)
    after = dict(leaves(state.params))
    for path, x in leaves(params):
        assert np.array_equal(after[path], x) != path.startswith("lora."), path


def test_adapters_cost_neither_weight_gradients_nor_moments():
    model = abstract(4)

    def cost(*overrides: str) -> tuple[float, int]:
        run = settings(*overrides)
        params = with_adapters(model.params, run)
        mask = trainable(params, run.trainable)
        state = abstract_state(params, mask, run, ONE)
        rows = {name: jax.ShapeDtypeStruct((2, 64), jnp.int32) for name in ("tokens", "positions", "segments")}
        step = make_step(decoder_forward(model, jnp.float32, unroll=True), mask, run, ONE, state)
        size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.opt_state))
        return step.lower(state, rows).compile().cost_analysis()["flops"], size

    full, full_bytes = cost()
    low, low_bytes = cost(*LORA)
    assert low < 0.78 * full and low_bytes < 0.06 * full_bytes


@pytest.mark.parametrize(
    ("targets", "says"), [("layers.nothing", "matches no linear map"), ("norm.*", "layers.attn.q")]
)
def test_mistakes(targets, says):
    with pytest.raises(UserError, match=says):
        with_adapters(stored()[1], settings(*LORA, f"lora.targets={targets}"))
