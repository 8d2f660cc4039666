"""Scaled dot-product attention. b batch, t queries, s keys, h heads, n key and value heads, g = h / n, k head_dim."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

BELOW = -1e30  # the score of what is not seen


def attend(
    query: Float[Array, "b t h k"],
    key: Float[Array, "b s n k"],
    value: Float[Array, "b s n k"],
    mask: Bool[Array, "b 1 t s"],
    *,
    scale: float | None = None,
    softcap: float | None = None,
) -> Float[Array, "b t h k"]:
    """softmax(cap(scale query key^T)) value; head i reads key/value head i // g (GQA, Ainslie et al. 2023).

    scale None is k^-1/2. `softcap` c: scores s become c tanh(s / c) before the mask (Gemma 2, section 2). The softmax
    runs in float32. On a GPU cuDNN's fused attention is used where it can be.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if softcap is None and _cudnn_can(query, key):
        return jax.nn.dot_product_attention(query, key, value, mask=mask, scale=scale, implementation="cudnn")
    b, t, h, k = query.shape
    n = key.shape[2]
    heads_first = query.reshape(b, t, n, h // n, k).transpose(0, 2, 3, 1, 4)
    found = _attend(heads_first, key.swapaxes(1, 2), value.swapaxes(1, 2), mask, scale, softcap)
    return found.transpose(0, 3, 1, 2, 4).reshape(b, t, h, k)


def _cudnn_can(query: Float[Array, "b t h k"], key: Float[Array, "b s n k"]) -> bool:
    """What cuDNN's fused attention takes with a mask on every GPU since Ampere (JAX raises for what it does not)."""
    even = query.shape[1] % 2 == 0 and key.shape[1] % 2 == 0
    small = query.shape[-1] <= 128 and query.shape[-1] % 8 == 0
    return jax.default_backend() == "gpu" and query.dtype in (jnp.bfloat16, jnp.float16) and even and small


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _attend(
    query: Float[Array, "b n g t k"],
    key: Float[Array, "b n s k"],
    value: Float[Array, "b n s k"],
    mask: Bool[Array, "b 1 t s"],
    scale: float,
    softcap: float | None,
) -> Float[Array, "b n g t k"]:
    return _forward(query, key, value, mask, scale, softcap)[0]


Kept = tuple[Array, Array, Array, Array, Array | None]


def _forward(
    query: Array, key: Array, value: Array, mask: Array, scale: float, softcap: float | None
) -> tuple[Array, Kept]:
    """What is kept of the scores is their softmax alone, as rounded for the product with the values, where automatic
    differentiation keeps each of its steps."""
    scores = _sum("bngtk,bnsk->bngts", query, key, jnp.float32) * scale
    turned = None
    if softcap is not None:
        turned = jnp.tanh(scores / softcap)
        scores = softcap * turned
    weights = jax.nn.softmax(jnp.where(mask[:, :, None], scores, BELOW), axis=-1).astype(value.dtype)
    return _sum("bngts,bnsk->bngtk", weights, value), (query, key, value, weights, turned)


def _backward(
    scale: float, softcap: float | None, kept: Kept, gradient: Float[Array, "b n g t k"]
) -> tuple[Array, Array, Array, None]:
    """Of weights w = softmax(s), with dw = gradient value^T: ds = w (dw - sum_s dw w).

    The gradients of keys and values are computed turned over, k before s: so the small factor of the product is the one
    that XLA on a CPU writes down transposed, and not the scores.
    """
    query, key, value, weights, turned = kept
    of_value = _sum("bngtk,bngts->bnks", gradient, weights)
    of_weights, wide = (x.astype(jnp.float32) for x in (_sum("bngtk,bnsk->bngts", gradient, value), weights))
    of_scores = wide * (of_weights - jnp.sum(of_weights * wide, axis=-1, keepdims=True)) * scale
    if turned is not None:
        of_scores = of_scores * (1 - turned * turned)
    of_scores = of_scores.astype(query.dtype)
    of_query = _sum("bngts,bnsk->bngtk", of_scores, key)
    of_key = _sum("bngtk,bngts->bnks", query, of_scores)
    return of_query, of_key.swapaxes(2, 3), of_value.swapaxes(2, 3), None


def _sum(formula: str, a: Array, b: Array, dtype: Any = None) -> Array:
    """The backward pass is traced where `matmul_precision` no longer holds, so the precision is said."""
    precision = jax.lax.Precision.DEFAULT if a.dtype == jnp.bfloat16 else jax.lax.Precision.HIGHEST
    return jnp.einsum(formula, a, b, precision=precision, preferred_element_type=dtype)


_attend.defvjp(_forward, _backward)
