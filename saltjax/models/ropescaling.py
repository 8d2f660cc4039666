"""Scalings of RoPE for longer contexts: frozen dataclasses that change the frequencies.

Their fields carry the names of `config.rope_parameters`; a field with a default may be missing there. `scale` takes
and gives the frequencies [half] in float32, `amplitude` multiplies the rotated queries and keys.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Frequencies = Float[np.ndarray, "half"]


@dataclass(frozen=True)
class LinearRope:
    """Position interpolation (Chen et al. 2023): every frequency divided by `factor`."""

    factor: float
    amplitude = 1.0

    def scale(self, frequencies: Frequencies, theta: float) -> Frequencies:
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
    amplitude = 1.0

    def scale(self, frequencies: Frequencies, theta: float) -> Frequencies:
        turns = self.original_max_position_embeddings * frequencies / np.float32(2 * math.pi)
        blend = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        blend = np.clip(blend, 0.0, 1.0)
        return ((1 - blend) * frequencies / self.factor + blend * frequencies).astype(np.float32)


@dataclass(frozen=True)
class YarnRope:
    """YaRN (Peng et al. 2023, sections 3.2 and 3.4): as Llama 3's, but the blend is linear in the dimension.

    Dimension i makes `original f_i / 2 pi` turns in the context of pre-training. Up to the dimension of `beta_fast`
    turns the frequencies are kept, from that of `beta_slow` on divided by `factor` (both rounded outwards when
    `truncate`). The amplitude is `attention_factor`, or 0.1 ln(factor) + 1, or DeepSeek's ratio of two such terms.
    """

    factor: float
    original_max_position_embeddings: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True

    @property
    def amplitude(self) -> float:
        def magnitude(weight: float) -> float:
            return 0.1 * weight * math.log(self.factor) + 1.0 if self.factor > 1 else 1.0

        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return magnitude(self.mscale) / magnitude(self.mscale_all_dim)
        return magnitude(1.0)

    def scale(self, frequencies: Frequencies, theta: float) -> Frequencies:
        half = len(frequencies)

        def dimension(turns: float) -> float:
            wavelength = self.original_max_position_embeddings / (turns * 2 * math.pi)
            return half * math.log(wavelength) / math.log(theta)

        low, high = dimension(self.beta_fast), dimension(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, 2 * half - 1)
        width = high - low if high != low else 0.001
        divided = np.clip((np.arange(half, dtype=np.float32) - np.float32(low)) / np.float32(width), 0, 1)
        return (frequencies / np.float32(self.factor) * divided + frequencies * (1 - divided)).astype(np.float32)


@dataclass(frozen=True)
class LongRope:
    """LongRoPE (Ding et al. 2024) up to the positions of pre-training: each frequency divided by its `short_factor`.

    The amplitude is `attention_factor`, or sqrt(1 + ln(factor) / ln(original)) where `factor` is above 1.
    """

    short_factor: tuple[float, ...]
    original_max_position_embeddings: int
    factor: float
    attention_factor: float | None = None

    @property
    def amplitude(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        if self.factor <= 1:
            return 1.0
        return math.sqrt(1 + math.log(self.factor) / math.log(self.original_max_position_embeddings))

    def scale(self, frequencies: Frequencies, theta: float) -> Frequencies:
        return frequencies / np.array(self.short_factor, np.float32)


RopeScaling = LinearRope | Llama3Rope | YarnRope | LongRope
