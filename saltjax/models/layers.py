"""One transformer block as Flax NNX modules. Sizes: b batch, t tokens, d hidden, h heads, k head_dim, f MLP.

Parameters may have any float dtype (float32 masters, normally): each use casts them to the dtype of the activations,
so the caller chooses the compute dtype by the dtype of `x`. Norms, rotations and the softmax run in float32.
The constructors only say the shapes; values come from a checkpoint or from `initial.py`.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from saltjax.models.config import DecoderConfig
from saltjax.models.rope import rotate


def weight(*shape: int) -> nnx.Param:
    return nnx.Param(jnp.zeros(shape, jnp.float32))


def bias(present: bool, *shape: int) -> nnx.Param | None:
    return weight(*shape) if present else None


def _plus(x: Float[Array, "..."], b: nnx.Param | None) -> Float[Array, "..."]:
    return x if b is None else x + b[...].astype(x.dtype)


class RMSNorm(nnx.Module):
    """x / sqrt(mean(x^2) + eps) * scale, in float32 (Zhang & Sennrich 2019)."""

    def __init__(self, config: DecoderConfig):
        self.eps = config.norm_eps
        self.scale = weight(config.hidden_size)

    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        wide = x.astype(jnp.float32)
        normed = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.eps)
        return (normed * self.scale[...].astype(jnp.float32)).astype(x.dtype)


class Attention(nnx.Module):
    """Grouped-query attention (Ainslie et al. 2023) with RoPE: head i reads key/value head i // (heads / kv_heads)."""

    def __init__(self, config: DecoderConfig):
        d, h, kv, k = config.hidden_size, config.heads, config.kv_heads, config.head_dim
        self.q = weight(d, h, k)
        self.k = weight(d, kv, k)
        self.v = weight(d, kv, k)
        self.o = weight(h, k, d)
        self.q_bias = bias(config.attention_bias, h, k)
        self.k_bias = bias(config.attention_bias, kv, k)
        self.v_bias = bias(config.attention_bias, kv, k)
        self.o_bias = bias(config.attention_bias, d)

    def __call__(
        self, x: Float[Array, "b t d"], angles: Float[Array, "b t half"], mask: Bool[Array, "b 1 t t"]
    ) -> Float[Array, "b t d"]:
        def project(w: nnx.Param, b: nnx.Param | None) -> Float[Array, "b t heads k"]:
            return _plus(jnp.einsum("btd,dhk->bthk", x, w[...].astype(x.dtype)), b)

        query = rotate(project(self.q, self.q_bias), angles)
        key = rotate(project(self.k, self.k_bias), angles)
        value = project(self.v, self.v_bias)
        mixed = jax.nn.dot_product_attention(query, key, value, mask=mask)
        return _plus(jnp.einsum("bthk,hkd->btd", mixed, self.o[...].astype(x.dtype)), self.o_bias)


class Mlp(nnx.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate x) * up x)."""

    def __init__(self, config: DecoderConfig):
        d, f = config.hidden_size, config.mlp_size
        self.gate = weight(d, f)
        self.up = weight(d, f)
        self.down = weight(f, d)
        self.gate_bias = bias(config.mlp_bias, f)
        self.up_bias = bias(config.mlp_bias, f)
        self.down_bias = bias(config.mlp_bias, d)

    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        gate = _plus(x @ self.gate[...].astype(x.dtype), self.gate_bias)
        up = _plus(x @ self.up[...].astype(x.dtype), self.up_bias)
        return _plus((jax.nn.silu(gate) * up) @ self.down[...].astype(x.dtype), self.down_bias)


class Block(nnx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: DecoderConfig):
        self.attn_norm = RMSNorm(config)
        self.attn = Attention(config)
        self.mlp_norm = RMSNorm(config)
        self.mlp = Mlp(config)

    def __call__(
        self, x: Float[Array, "b t d"], angles: Float[Array, "b t half"], mask: Bool[Array, "b 1 t t"]
    ) -> Float[Array, "b t d"]:
        x = x + self.attn(self.attn_norm(x), angles, mask)
        return x + self.mlp(self.mlp_norm(x))
