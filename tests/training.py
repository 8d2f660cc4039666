"""A tiny decoder and packed batches for the tests of the training step."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from saltjax.models.config import DecoderConfig
from saltjax.models.model import Model, random_model
from saltjax.train.config import AdaptConfig, read_config

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "layers": 4,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 4,
    "mlp_size": 32,
    "max_positions": 32,
}


def settings(*overrides: str) -> AdaptConfig:
    return read_config(None, ["steps=10", "warmup_steps=2", "batch_size=8", "learning_rate=1e-2", *overrides])


@cache
def stored() -> tuple[Model, dict]:
    model = random_model(DecoderConfig(**SIZES), 0, pad_vocab_to=8)
    return model, jax.tree.map(np.asarray, model.params)


def fresh() -> tuple[Model, dict]:
    """A model and a copy of its parameters that a step may use up."""
    model, params = stored()
    return model, jax.tree.map(jnp.array, params)


def batch(seed: int, rows: int = 8, length: int = 12) -> dict[str, np.ndarray]:
    """Packed windows with uneven numbers of targets, so that a mean of parts' means would be wrong."""
    rng = np.random.default_rng(seed)
    segments = np.zeros((rows, length), np.int32)
    for row, used in enumerate(rng.integers(3, length + 1, rows)):
        segments[row, :used] = 1
        segments[row, used // 2 : used] = 2
    starts = np.argmax(segments[:, :, None] == segments[:, None, :], axis=2)
    positions = np.arange(length) - starts
    return {
        "tokens": rng.integers(0, 50, (rows, length)).astype(np.int32),
        "segments": segments,
        "positions": positions.astype(np.int32),
    }
