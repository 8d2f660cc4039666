"""Fresh values for a parameter, drawn with NumPy: the same bytes on every backend and mesh, and nothing to compile."""

import zlib

import numpy as np
from jaxtyping import Float

from saltjax.models.config import DecoderConfig

STD = 0.02
INTO_RESIDUAL = ("layers.attn.o", "layers.mlp.down", "layers.moe.down")
VOCABULARY = ("embed.table", "head.table")


def initial(config: DecoderConfig, path: str, shape: tuple[int, ...], seed: int) -> Float[np.ndarray, "..."]:
    """The float32 values of the parameter at `path` ("layers.mlp.up"), by its path and `seed` alone.

    Normal with std 0.02, the projections that write into the residual stream with 0.02 / sqrt(2 layers) (GPT-2,
    Radford et al. 2019, section 2.3); norms multiply by one, biases zero, padding rows of the vocabulary zero.
    """
    name = path.rsplit(".", 1)[-1]
    if name == "scale":
        return np.full(shape, 1.0 - config.norm_offset, np.float32)
    if name == "bias" or name.endswith("_bias"):
        return np.zeros(shape, np.float32)
    std = STD / (2 * config.layers) ** 0.5 if path in INTO_RESIDUAL else STD
    rng = np.random.default_rng([seed, zlib.crc32(path.encode())])
    if path not in VOCABULARY:
        return np.float32(std) * rng.standard_normal(shape, np.float32)
    values = np.zeros(shape, np.float32)
    values[: config.vocab_size] = std * rng.standard_normal((config.vocab_size, *shape[1:]), np.float32)
    return values
