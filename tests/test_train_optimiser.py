"""The optimizers against their definitions, in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import settings

from saltjax.errors import UserError
from saltjax.train import optimiser
from saltjax.train.sharding import leaves
from saltjax.train.trainable import trainable

RNG = np.random.default_rng(0)
PARAMS = {
    "embed": {"table": jnp.asarray(RNG.normal(size=(10, 6)), jnp.float32)},
    "layers": {
        "attn": {"o": jnp.asarray(RNG.normal(size=(2, 2, 12, 6)), jnp.float32)},
        "mlp": {"up": jnp.asarray(RNG.normal(size=(2, 6, 24)), jnp.float32)},
    },
    "norm": {"scale": jnp.ones(6)},
}
MASK = trainable(PARAMS, "full")
GRADS = [{path: jnp.asarray(RNG.normal(size=x.shape), jnp.float32) for path, x in leaves(PARAMS)} for _ in range(3)]


def run(*overrides: str, grads=GRADS):
    """Parameters and states after a few updates at rate 1."""
    config = settings("clip_norm=0", *overrides)
    learning, states = dict(leaves(PARAMS)), optimiser.init(PARAMS, MASK, config)
    for grad in grads:
        learning, states, _ = optimiser.update(grad, states, learning, jnp.float32(1), config)
    return learning, states


def size(states) -> int:
    return sum(x.nbytes for x in jax.tree.leaves(states))


def test_lion_moves_by_the_sign_of_its_momentum():
    found, states = run("optimizer=lion", "beta1=0.9", "beta2=0.8", "weight_decay=0.1")
    for path, x in leaves(PARAMS):
        x, moment = np.asarray(x), 0.0
        for grad in GRADS:
            g = np.asarray(grad[path])
            decay = 0.0 if path == "norm.scale" else 0.1
            x, moment = x - np.sign(0.9 * moment + 0.1 * g) - decay * x, 0.8 * moment + 0.2 * g
        np.testing.assert_allclose(found[path], x, rtol=1e-5, atol=1e-5)
    assert size(states) < 0.6 * size(run()[1])


def test_muon_makes_the_momentum_of_each_layer_orthogonal():
    """A layer's update is 0.2 sqrt(max(m, n)) U V^T, where U S V^T is the momentum (a polynomial gets there within
    some tens of per cent); tables and norms are Adam's."""
    found, _ = run("optimizer=muon", "weight_decay=0", grads=GRADS[:1])
    adam, _ = run("weight_decay=0", grads=GRADS[:1])
    for path in ("embed.table", "norm.scale"):
        np.testing.assert_array_equal(found[path], adam[path])
    for path, shape in (("layers.attn.o", (2, 24, 6)), ("layers.mlp.up", (2, 6, 24))):
        moved = np.asarray(dict(leaves(PARAMS))[path] - found[path]).reshape(shape)
        u, _, v = np.linalg.svd(np.asarray(GRADS[0][path]).reshape(shape), full_matrices=False)
        inner = np.einsum("lmr,lmn,lrn->lr", u, moved, v) / (0.2 * np.sqrt(24))  # the singular values
        assert (inner > 0.5).all() and (inner < 1.4).all(), path
        # the r singular values are about 1, so the mean square of the m x n entries is about 0.04 max(m, n) r / (m n)
        assert np.sqrt((moved**2).mean()) == pytest.approx(0.2, rel=0.3)


def test_adafactor_keeps_a_row_and_a_column_of_a_big_matrix():
    params = {"layers": {"mlp": {"up": jnp.ones((2, 128, 256))}}}
    grad = jnp.asarray(RNG.normal(size=(2, 128, 256)) * 1e-3, jnp.float32)
    config = settings("optimizer=adafactor", "clip_norm=0", "weight_decay=0")
    mask = trainable(params, "full")
    states = optimiser.init(params, mask, config)
    assert size(states) < 0.02 * grad.nbytes
    new, _, _ = optimiser.update({"layers.mlp.up": grad}, states, dict(leaves(params)), jnp.float32(1), config)
    g2 = np.asarray(grad, np.float64) ** 2
    second = g2.mean(2, keepdims=True) * g2.mean(1, keepdims=True) / g2.mean((1, 2), keepdims=True)  # rank 1 a layer
    wanted = np.asarray(grad) / np.sqrt(second)
    wanted /= max(1.0, np.sqrt((wanted**2).mean()))
    np.testing.assert_allclose(1 - np.asarray(new["layers.mlp.up"]), wanted, rtol=1e-3, atol=1e-3)


def test_moments_in_bfloat16_take_half_the_memory_and_stay_near():
    exact, states = run("weight_decay=0")
    near, small = run("weight_decay=0", "moments_dtype=bfloat16")
    assert {x.dtype for x in jax.tree.leaves(small) if x.ndim} == {jnp.dtype(jnp.bfloat16)}
    assert size(small) < 0.55 * size(states)
    for path, x in leaves(PARAMS):
        moved = np.asarray(x - exact[path])
        assert 0 < np.abs(np.asarray(exact[path] - near[path])).max() < 0.05 * np.abs(moved).max(), path
    with pytest.raises(UserError, match="beta2"):
        settings("moments_dtype=bfloat16", "beta2=0.999")


def test_embeddings_move_at_their_own_rate():
    one, _ = run("weight_decay=0")
    other, _ = run("weight_decay=0", "embedding_learning_rate_ratio=0.25")
    moved = {path: (x - one[path], x - other[path]) for path, x in leaves(PARAMS)}
    np.testing.assert_allclose(moved["embed.table"][1], 0.25 * moved["embed.table"][0], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(*moved["layers.mlp.up"])
