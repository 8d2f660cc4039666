"""Attention and its gradient, against PyTorch's automatic differentiation in float64."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from saltjax.models.attend import attend

B, T, H, N, K = 2, 5, 6, 2, 4


def drawn(dtype=jnp.float32):
    rng = np.random.default_rng(0)
    shapes = (B, T, H, K), (B, T, N, K), (B, T, N, K), (B, T, H, K)
    arrays = [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]
    mask = np.tril(np.ones((T, T), bool))[None, None] & (rng.random((B, 1, T, T)) < 0.8) | np.eye(T, dtype=bool)
    return arrays, jnp.asarray(mask)


def by_torch(arrays, mask, scale, softcap):
    """The output, and the gradients of query, key and value for the gradient that is the last of `arrays`."""
    query, key, value, into = (torch.tensor(np.asarray(x, np.float64), requires_grad=True) for x in arrays)
    spread = [x.repeat_interleave(H // N, dim=2) for x in (key, value)]
    scores = torch.einsum("bthk,bshk->bhts", query, spread[0]) * scale
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    weights = scores.masked_fill(~torch.tensor(np.asarray(mask)), -torch.inf).softmax(-1)
    found = torch.einsum("bhts,bshk->bthk", weights, spread[1])
    found.backward(into.detach())
    return [x.detach().numpy() for x in (found, query.grad, key.grad, value.grad)]


@pytest.mark.parametrize(("scale", "softcap"), [(None, None), (0.7, None), (0.7, 0.9)], ids=["plain", "scale", "cap"])
@pytest.mark.parametrize(("dtype", "near"), [(jnp.float32, 1e-5), (jnp.bfloat16, 0.05)], ids=["float32", "bfloat16"])
def test_values_and_gradients(scale, softcap, dtype, near):
    arrays, mask = drawn(dtype)
    expected = by_torch(arrays, mask, K**-0.5 if scale is None else scale, softcap)
    found, back = jax.vjp(lambda *qkv: attend(*qkv, mask, scale=scale, softcap=softcap), *arrays[:3])
    for one, other in zip((found, *back(arrays[3])), expected, strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(np.float64(one), other, atol=near)


def test_of_the_scores_only_the_softmax_is_kept():
    arrays, mask = drawn()
    kept = jax.tree.leaves(jax.vjp(lambda *qkv: attend(*qkv, mask), *arrays[:3])[1])
    assert sum(x.size == B * H * T * T for x in kept) == 1


def test_the_compiler_turns_nothing_over_that_is_as_large_as_the_scores():
    query, key, value = jnp.ones((1, 48, 2, 4)), jnp.ones((1, 80, 1, 4)), jnp.ones((1, 80, 1, 4))
    seen = jnp.ones((1, 1, 48, 80), bool)

    def loss(query, key, value):
        return (attend(query, key, value, seen) ** 2).sum()

    program = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(query, key, value).compile().as_text()
    assert re.search(r"f32\[[\d,]*(48|96),80\]", program)
    assert not re.search(r"f32\[[\d,]*80,(48|96)\]", program)


def test_the_backward_pass_multiplies_float32_as_float32():
    arrays, mask = drawn()
    with jax.default_matmul_precision("highest"):
        _, back = jax.vjp(lambda *qkv: attend(*qkv, mask), *arrays[:3])
    program = str(jax.make_jaxpr(back)(arrays[3]))
    assert program.count("dot_general[") == program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == 4
