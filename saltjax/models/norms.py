"""Normalisation over the last axes, computed in float32 and returned in the dtype of x."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from saltjax.models.config import DecoderConfig
from saltjax.models.parameters import bias, weight


class Norm(nnx.Module):
    """`norm: rms`: x / sqrt(mean(x^2) + eps) * (offset + scale) (Zhang & Sennrich 2019);
    `norm: layer`: (x - mean(x)) / sqrt(var(x) + eps) * (offset + scale) + bias (Ba et al. 2016).

    The means run over all axes of `shape`. `offset` is `config.norm_offset`: Gemma stores scale - 1.
    """

    def __init__(self, config: DecoderConfig, *shape: int):
        self.eps, self.offset, self.centred = config.norm_eps, config.norm_offset, config.norm == "layer"
        self.scale = weight(*shape)
        self.bias = bias(self.centred, *shape)

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return jax.checkpoint(self._normed)(x, self.scale[...], None if self.bias is None else self.bias[...])

    def _normed(self, x: Array, scale: Array, bias: Array | None) -> Array:
        """The backward pass computes this again from x: three arrays of the size of x are not kept."""
        axes = tuple(range(-scale.ndim, 0))
        wide = x.astype(jnp.float32)
        if self.centred:
            wide = wide - jnp.mean(wide, axis=axes, keepdims=True)
        normed = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=axes, keepdims=True) + self.eps)
        scaled = normed * (self.offset + scale.astype(jnp.float32))
        if bias is not None:
            scaled = scaled + bias.astype(jnp.float32)
        return scaled.astype(x.dtype)
