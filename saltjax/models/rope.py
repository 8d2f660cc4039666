"""Rotary position embedding (Su et al. 2021, RoFormer, section 3.4) in the half-split layout of Hugging Face models.

With k = head_dim and frequencies f_i = theta^(-2i/k), the pair (x_i, x_{i + k/2}) at position p is turned by p f_i:

    y_i       = x_i cos(p f_i) - x_{i+k/2} sin(p f_i)
    y_{i+k/2} = x_{i+k/2} cos(p f_i) + x_i sin(p f_i)

A scaling is a frozen dataclass that changes the frequencies; its fields carry the names of `config.rope_parameters`.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


@dataclass(frozen=True)
class LinearRope:
    """Position interpolation (Chen et al. 2023): every frequency divided by `factor`."""

    factor: float

    def scale(self, frequencies: Float[np.ndarray, "half"]) -> Float[np.ndarray, "half"]:
        return frequencies / np.float32(self.factor)


@dataclass(frozen=True)
class Llama3Rope:
    """Llama 3.1's scaling: long wavelengths divided by `factor`, short ones kept, a linear blend in between.

    A wavelength is long above `original / low_freq_factor` and short below `original / high_freq_factor`, where
    `original` is the number of positions of pre-training.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int

    def scale(self, frequencies: Float[np.ndarray, "half"]) -> Float[np.ndarray, "half"]:
        turns = self.original_max_position_embeddings * frequencies / np.float32(2 * math.pi)
        blend = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        blend = np.clip(blend, 0.0, 1.0)
        return ((1 - blend) * frequencies / self.factor + blend * frequencies).astype(np.float32)


RopeScaling = LinearRope | Llama3Rope


def frequencies(head_dim: int, theta: float, scaling: RopeScaling | None) -> Float[np.ndarray, "half"]:
    """f_i as float32: a constant of the compiled program."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    plain = (1.0 / np.float32(theta) ** exponents).astype(np.float32)
    return plain if scaling is None else scaling.scale(plain)


def angles(positions: Int[Array, "b t"], frequencies: Float[np.ndarray, "half"]) -> Float[Array, "b t half"]:
    """p f_i in float32, whatever the compute dtype: bfloat16 cannot count positions beyond 256."""
    return positions[..., None].astype(jnp.float32) * frequencies


def rotate(x: Float[Array, "b t h k"], angles: Float[Array, "b t half"]) -> Float[Array, "b t h k"]:
    """x turned by its angles; computed in float32, returned in x's dtype."""
    cos, sin = jnp.cos(angles)[:, :, None, :], jnp.sin(angles)[:, :, None, :]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)
