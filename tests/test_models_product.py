"""A product with a weight: values and gradients are tensordot's, and nothing is transposed on the way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saltjax.models.product import product

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("x", "weight", "inputs"),
    [((2, 3, 4), (4, 5), 1), ((2, 3, 4), (4, 5, 6), 1), ((2, 3, 4, 5), (4, 5, 6), 2), ((4,), (4, 5), 1)],
    ids=["mlp", "heads in", "heads out", "one token"],
)
def test_values_and_gradients_are_those_of_tensordot(x, weight, inputs):
    x, weight = (jnp.asarray(RNG.standard_normal(shape), jnp.float32) for shape in (x, weight))
    expected = np.tensordot(np.float64(x), np.float64(weight), inputs)
    np.testing.assert_allclose(product(x, weight, inputs), expected, rtol=1e-5, atol=1e-6)
    into = RNG.standard_normal(expected.shape).astype(np.float32)
    found = jax.grad(lambda x, w: jnp.vdot(into, product(x, w, inputs)), argnums=(0, 1))(x, weight)
    same = jax.grad(lambda x, w: jnp.vdot(into, jnp.tensordot(x, w, inputs)), argnums=(0, 1))(x, weight)
    for one, other in zip(found, same, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_bfloat16_activations_round_the_weight_and_its_gradient_comes_back_in_float32():
    x = jnp.asarray(RNG.standard_normal((6, 4)), jnp.bfloat16)
    weight = jnp.asarray(RNG.standard_normal((4, 5)), jnp.float32)
    y, back = jax.vjp(product, x, weight)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, x @ weight.astype(jnp.bfloat16))
    to_x, to_weight = back(jnp.ones_like(y))
    assert to_x.dtype == jnp.bfloat16 and to_weight.dtype == jnp.float32


def test_the_backward_pass_transposes_nothing_and_multiplies_float32_as_float32():
    """It is traced after the forward pass, where a context that asked for the precision has ended."""
    x, weight = jnp.ones((2, 3, 4)), jnp.ones((4, 5, 6))
    program = str(jax.make_jaxpr(jax.grad(lambda x, w: product(x, w).sum(), argnums=(0, 1)))(x, weight))
    assert program.count("dot_general[") == 3  # forward, to x, to the weight
    assert program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == 3
    assert "transpose" not in program
