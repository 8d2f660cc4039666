"""Products with weights: values and gradients are tensordot's, and nothing large is transposed on the way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saltjax.models.product import product, scores

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


@pytest.mark.parametrize(("dtype", "near"), [(jnp.float32, 1e-5), (jnp.bfloat16, 0.05)], ids=["float32", "bfloat16"])
def test_scores_and_their_gradients(dtype, near):
    x, into = (jnp.asarray(RNG.standard_normal(shape), dtype) for shape in ((2, 3, 4), (2, 3, 5)))
    table = jnp.asarray(RNG.standard_normal((5, 4)), jnp.float32)
    found, back = jax.vjp(scores, x, table)
    assert found.dtype == jnp.float32
    wide = [np.float64(a) for a in (x, table.astype(dtype), into)]
    np.testing.assert_allclose(found, wide[0] @ wide[1].T, atol=1e-5)  # rounded nowhere but at the start
    to_x, to_table = back(into.astype(jnp.float32))
    assert (to_x.dtype, to_table.dtype) == (dtype, jnp.float32)
    np.testing.assert_allclose(np.float64(to_x), wide[2] @ wide[1], atol=near)
    np.testing.assert_allclose(to_table, np.einsum("btv,btd->vd", wide[2], wide[0]), atol=near)


def test_what_does_not_learn_costs_scores_no_product():
    x, table = jnp.ones((3, 4)), jnp.ones((5, 4))
    for learns, products in ((0, 2), (1, 2), ((0, 1), 3)):
        program = jax.make_jaxpr(jax.grad(lambda x, w: (scores(x, w) ** 2).sum(), argnums=learns))(x, table)
        assert str(program).count("dot_general[") == products


def test_the_compiler_turns_over_the_gradient_of_the_table_and_not_that_of_the_scores():
    x, table = jnp.ones((48, 4)), jnp.ones((80, 4))
    program = jax.jit(jax.grad(lambda w: (scores(x, w) ** 2).sum())).lower(table).compile().as_text()
    assert "f32[4,80]" in program and "f32[80,48]" not in program
