"""A text sample: greedy or at a temperature, one prompt, the whole prefix computed again for every token.

No cache of keys and values yet: meant for samples of some dozen tokens, not for benchmarks.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import Params, hidden_states, logits
from saltjax.models.model import Model

BUCKET = 64  # prompt + new tokens are rounded up to this, so that few lengths are compiled


def sample(
    model: Model,
    prompt_ids: Sequence[int],
    max_new: int,
    temperature: float = 0.0,
    seed: int = 0,
    *,
    eos_ids: Sequence[int] = (),
    dtype: Any = jnp.float32,
) -> list[int]:
    """The new ids after `prompt_ids`: at most `max_new`, the last one an EOS where it came to that.

    Temperature 0 takes the most likely token; T > 0 draws from softmax(logits / T) with `seed`.
    """
    if not len(prompt_ids):
        raise ValueError("prompt_ids is empty; a prompt has at least a BOS")
    if not 0 <= min(prompt_ids) <= max(prompt_ids) < model.config.vocab_size:
        raise ValueError(f"prompt_ids has an id outside 0..{model.config.vocab_size - 1}")
    if temperature < 0 or max_new < 0:
        raise ValueError(f"temperature ({temperature}) and max_new ({max_new}) must not be negative")
    start = len(prompt_ids)
    length = -(-(start + max_new) // BUCKET) * BUCKET
    buffer = np.zeros(length, np.int32)
    buffer[:start] = prompt_ids
    filled, end = _continue(
        model.graphdef, model.config, jnp.dtype(dtype), tuple(eos_ids), model.params,
        jnp.asarray(buffer), jnp.int32(start), jnp.int32(start + max_new), jnp.float32(temperature), seed,
    )  # fmt: skip
    return np.asarray(filled)[start : int(end)].tolist()


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _continue(
    graphdef: nnx.GraphDef,
    config: DecoderConfig,
    dtype: Any,
    eos_ids: tuple[int, ...],
    params: Params,
    buffer: Int[Array, "t"],
    start: Int[Array, ""],
    stop: Int[Array, ""],
    temperature: Float[Array, ""],
    seed: Int[Array, ""] | int,
) -> tuple[Int[Array, "t"], Int[Array, ""]]:
    """(the filled buffer, the end of what is valid in it). What lies beyond is never seen: attention is causal."""
    positions = jnp.arange(buffer.size)[None]
    ones = jnp.ones_like(positions)
    eos = jnp.array(eos_ids, jnp.int32)

    def going(state: tuple) -> Array:
        _, at, _, done = state
        return (at < stop) & ~done

    def step(state: tuple) -> tuple:
        buffer, at, key, _ = state
        hidden = hidden_states(graphdef, params, buffer[None], positions, ones, dtype)
        scores = logits(config, params, hidden[0, at - 1])
        key, now = jax.random.split(key)
        drawn = jax.random.categorical(now, scores / jnp.where(temperature > 0, temperature, 1.0))
        token = jnp.where(temperature > 0, drawn, scores.argmax()).astype(jnp.int32)
        return buffer.at[at].set(token), at + 1, key, (token == eos).any()

    state = (buffer, start, jax.random.key(seed), jnp.array(False))
    buffer, end, _, _ = jax.lax.while_loop(going, step, state)
    return buffer, end
