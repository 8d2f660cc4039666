"""Text from a decoder: many prompts at once, with a cache of keys and values, in one compiled program.

Prompts are sorted by length and cut into batches. A batch is padded to a `rung` in each of its sizes (rows, prompt,
new tokens), so that few programs serve all calls. The program computes the prompts in one pass, padded on the left,
and then one token a row at a time, until every row has ended.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from saltjax.errors import UserError
from saltjax.models.cache import Cache, continued, empty, grown
from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import Params, logits
from saltjax.models.model import Model
from saltjax.models.sampling import How, drawn


def rung(n: int) -> int:
    """The smallest of 1, 2, 3, 4, 6, 8, 12, 16, ... (2^i and 3 * 2^i) that is at least n."""
    power = 1 << (n - 1).bit_length()
    return power * 3 // 4 if n <= power * 3 // 4 and power > 2 else power


def generate(
    model: Model,
    prompts: Sequence[Sequence[int]],
    max_new: int,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    eos_ids: Sequence[int] = (),
    dtype: Any = jnp.float32,
    batch_size: int = 32,
    rows: NamedSharding | None = None,
) -> list[list[int]]:
    """The new ids after each prompt: at most `max_new`, the last one an EOS where it came to that.

    Temperature 0 takes the most likely token; T > 0 draws from p = softmax(logits / T), or with `top_p` < 1 from the
    fewest tokens that together have that probability (`sampling.nucleus`). What is drawn depends on `seed`, the prompt
    and which copy of it this is in `prompts`, not on the other prompts. (Nor does anything else but for the rounding of
    differently shaped products, which may decide between nearly equal scores.)

    `dtype` is the compute dtype, `batch_size` the largest number of prompts computed at once. On a mesh `rows` says
    where the rows of a batch lie, as `train.mesh.batch_sharding` does; the batch is filled up to what divides.

    Raises ValueError for arguments that make no sense, UserError where prompt and new tokens exceed the positions.
    """
    _check(model.config, prompts, max_new, temperature, top_p, batch_size)
    if not max_new:
        return [[] for _ in prompts]
    how: How = "greedy" if np.float32(temperature) == 0 else "softmax" if top_p == 1 else "nucleus"
    program = partial(_generated, model.graphdef, model.config, jnp.dtype(dtype), how, rung(max_new), rows)
    settings = jnp.int32(max_new), jnp.float32(temperature), jnp.float32(top_p), jnp.array(eos_ids, jnp.int32)
    marks, seen = np.zeros((len(prompts), 2), np.uint32), Counter[int]()
    for index, prompt in enumerate(prompts):
        mark = crc32(np.asarray(prompt, np.int32).tobytes())
        marks[index] = mark, seen[mark]
        seen[mark] += 1
    longest_first = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))  # what is too large fails early
    new: list[list[int]] = [[] for _ in prompts]
    for start in range(0, len(prompts), batch_size):
        chosen = longest_first[start : start + batch_size]
        batch = _batch([prompts[index] for index in chosen], marks[chosen], batch_size, rows)
        ids, counts = program(model.params, *jax.device_put(batch, rows), jax.random.key(seed), *settings)
        for index, row, count in zip(chosen, np.asarray(ids), np.asarray(counts), strict=False):
            new[index] = row[:count].tolist()
    return new


def _check(
    config: DecoderConfig, prompts: Sequence[Sequence[int]], max_new: int, temperature: float, top_p: float, batch: int
) -> None:
    for index, prompt in enumerate(prompts):
        if not len(prompt):
            raise ValueError(f"prompts[{index}] is empty; a prompt has at least a BOS")
        if not 0 <= min(prompt) <= max(prompt) < config.vocab_size:
            raise ValueError(f"prompts[{index}] has an id outside 0..{config.vocab_size - 1}")
        if len(prompt) + max_new > config.max_positions:
            raise UserError(
                f"a prompt of {len(prompt)} tokens and {max_new} new ones are more than the model's "
                f"{config.max_positions} positions"
            )
    if temperature < 0 or max_new < 0:
        raise ValueError(f"temperature ({temperature}) and max_new ({max_new}) must not be negative")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}, it must be above 0 and at most 1")
    if batch < 1:
        raise ValueError(f"batch_size is {batch}, it must be at least 1")


def _batch(
    prompts: list[Sequence[int]], marks: UInt32[np.ndarray, "n 2"], batch_size: int, rows: NamedSharding | None
) -> tuple[Int[np.ndarray, "b t"], Int[np.ndarray, "b"], UInt32[np.ndarray, "b 2"]]:
    """(tokens padded on the left, the prompts' lengths, marks); rows beyond the prompts have length 0."""
    ways = rows.mesh.size // rows.shard_shape((rows.mesh.size,))[0] if rows else 1
    size = -(-min(rung(len(prompts)), batch_size) // ways) * ways
    tokens = np.zeros((size, rung(max(16, max(map(len, prompts))))), np.int32)
    lengths = np.zeros(size, np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, -len(prompt) :] = prompt
        lengths[row] = len(prompt)
    return tokens, lengths, np.pad(marks, ((0, size - len(marks)), (0, 0)))


class _State(NamedTuple):
    cache: Cache
    ids: Int[Array, "b room"]
    counts: Int[Array, "b"]  # of the ids that belong to the row
    number: Int[Array, ""]  # of the next token
    done: Bool[Array, "b"]


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5))
def _generated(
    graphdef: nnx.GraphDef,
    config: DecoderConfig,
    dtype: Any,
    how: How,
    room: int,
    rows: NamedSharding | None,
    params: Params,
    tokens: Int[Array, "b t"],
    lengths: Int[Array, "b"],
    marks: UInt32[Array, "b 2"],
    seed: Key[Array, ""],
    stop: Int[Array, ""],
    temperature: Float[Array, ""],
    top_p: Float[Array, ""],
    eos: Int[Array, "e"],
) -> tuple[Int[Array, "b room"], Int[Array, "b"]]:
    """(new ids, how many of them belong to the row), on every device. A row of length 0 has ended before it begins."""
    pinned = partial(jax.lax.with_sharding_constraint, shardings=rows) if rows else lambda x: x
    params = _narrowed(params, dtype)
    keys = jax.vmap(lambda mark: jax.random.fold_in(jax.random.fold_in(seed, mark[0]), mark[1]))(marks)
    b, t = tokens.shape

    def entered(state: _State, hidden: Float[Array, "b t d"]) -> _State:
        """The next token, drawn after the last of the hidden states."""
        cache, ids, counts, number, done = state
        scores = pinned(logits(config, params, hidden[:, -1])[:, : config.vocab_size])
        now = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
        token = drawn(scores, now, how, temperature, top_p)
        ids = jax.lax.dynamic_update_slice_in_dim(ids, token[:, None], number, axis=1)
        return _State(cache, ids, counts + ~done, number + 1, done | jnp.isin(token, eos))

    def step(state: _State) -> _State:
        last = jax.lax.dynamic_slice_in_dim(state.ids, state.number - 1, 1, axis=1)
        place = (lengths + state.number - 1)[:, None]
        hidden, cache = continued(graphdef, params, last, place, jnp.ones_like(last), state.cache, constrain=pinned)
        return entered(state._replace(cache=cache), hidden)

    places = jnp.arange(t) - (t - lengths[:, None])
    real, cache = (places >= 0).astype(jnp.int32), empty(config, b, t, dtype)
    hidden, cache = continued(graphdef, params, tokens, jnp.maximum(places, 0), real, cache, constrain=pinned)
    none = jnp.zeros_like(lengths)
    state = _State(grown(cache, t + room), jnp.zeros((b, room), jnp.int32), none, jnp.int32(0), lengths == 0)
    state = entered(state, hidden)
    state = jax.lax.while_loop(lambda state: (state.number < stop) & ~state.done.all(), step, state)
    if rows is None:
        return state.ids, state.counts
    everywhere = NamedSharding(rows.mesh, PartitionSpec())
    return jax.lax.with_sharding_constraint((state.ids, state.counts), everywhere)


def _narrowed(params: Params, dtype: Any) -> Params:
    """The parameters as their uses cast them, once and not for every token; norms compute in float32."""

    def cast(path: tuple, leaf: Array) -> Array:
        return leaf if any("norm" in key.key for key in path) else leaf.astype(dtype)

    return jax.tree_util.tree_map_with_path(cast, params)
