"""Rotary position embedding (Su et al. 2021, RoFormer, section 3.4) in the half-split layout of Hugging Face models.

With r rotated dimensions (all of the head, or its first part) and frequencies f_i = theta^(-2i/r), the pair
(x_i, x_{i + r/2}) at position p is turned by p f_i, and stretched by the amplitude a of the scaling (1 but for YaRN):

    y_i       = a (x_i cos(p f_i) - x_{i+r/2} sin(p f_i))
    y_{i+r/2} = a (x_{i+r/2} cos(p f_i) + x_i sin(p f_i))
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from saltjax.models.config import DecoderConfig
from saltjax.models.ropescaling import RopeScaling


class Turn(NamedTuple):
    """a cos(p f) and a sin(p f) in float32, whatever the compute dtype: bfloat16 cannot count positions beyond 256."""

    cos: Float[Array, "b t half"]
    sin: Float[Array, "b t half"]


def frequencies(rotary: int, theta: float, scaling: RopeScaling | None) -> Float[np.ndarray, "half"]:
    """f_i of `rotary` dimensions as float32: a constant of the compiled program."""
    exponents = np.arange(0, rotary, 2, dtype=np.float32) / np.float32(rotary)
    plain = (1.0 / np.float32(theta) ** exponents).astype(np.float32)
    return plain if scaling is None else scaling.scale(plain, theta)


def turns(config: DecoderConfig, kind: str, positions: Int[Array, "b t"]) -> Turn:
    """The turn of a `global`, `local` or `none` layer. The last turns by 0, which changes no bit."""
    scaling = config.rope_scaling if kind == "global" else None
    theta = config.local_rope_theta if kind == "local" else config.rope_theta
    f = frequencies(config.rotary_dim, theta, scaling) * np.float32(kind != "none")
    amplitude = np.float32(scaling.amplitude if scaling else 1.0)
    angles = positions[..., None].astype(jnp.float32) * f
    return Turn(jnp.cos(angles) * amplitude, jnp.sin(angles) * amplitude)


def rotate(x: Float[Array, "b t h k"], turn: Turn) -> Float[Array, "b t h k"]:
    """x turned in its first 2 half dimensions; computed in float32, returned in x's dtype."""
    cos, sin = turn.cos[:, :, None, :], turn.sin[:, :, None, :]
    half = cos.shape[-1]
    wide = x.astype(jnp.float32)
    first, second, rest = wide[..., :half], wide[..., half : 2 * half], wide[..., 2 * half :]
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)
    return turned.astype(x.dtype)
