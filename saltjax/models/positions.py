"""Absolute positions, added to the input embeddings: a learned table (GPT-2) or sinusoids (XGLM)."""

import math

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from saltjax.models.config import DecoderConfig
from saltjax.models.parameters import weight

OFFSET = 2  # fairseq counts from the padding id + 1


class Positions(nnx.Module):
    """A learned table [max_positions, d]. A position outside it gives NaN, not somebody else's vector."""

    def __init__(self, config: DecoderConfig):
        self.table = weight(config.max_positions, config.hidden_size)

    def __call__(self, positions: Int[Array, "b t"]) -> Float[Array, "b t d"]:
        return self.table[...].at[positions].get(mode="fill", fill_value=jnp.nan)


def sinusoids(config: DecoderConfig, positions: Int[Array, "b t"]) -> Float[Array, "b t d"]:
    """(sin(q g_0) ... sin(q g_{h-1}), cos(q g_0) ... [, 0]) in float32, q = p + 2, h = d // 2, g_i = 10000^(-i/(h-1)).

    As in tensor2tensor: Vaswani et al. 2017, section 3.5, but all sines before all cosines. The vector of
    `zero_position` is 0: fairseq's padding vector, which a changed padding id moves onto a real position.
    """
    half = config.hidden_size // 2
    step = np.float32(math.log(10000) / (half - 1))
    angles = (positions + OFFSET)[..., None].astype(jnp.float32) * np.exp(-step * np.arange(half, dtype=np.float32))
    parts = [jnp.sin(angles), jnp.cos(angles), jnp.zeros((*positions.shape, config.hidden_size % 2))]
    vectors = jnp.concatenate(parts, axis=-1)
    if config.zero_position is None:
        return vectors
    return jnp.where((positions == config.zero_position)[..., None], 0.0, vectors)
