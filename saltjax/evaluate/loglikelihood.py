"""Log-likelihoods of continuations given contexts, for many questions at once.

What the choices of a question have in common is computed once (`trees`), trunks and branches share rows (`rows`), and
logits are made only where a token is scored, a few at a time. What all questions of a task begin with (the examples of
few shots) is computed once for all and stays in a cache of keys and values.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from saltjax.evaluate.rows import Batch, Owners, batch, rows
from saltjax.evaluate.trees import Tree, common, trees
from saltjax.models.cache import Cache, continued, empty, grown, repeated
from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import Params, hidden_states, logits
from saltjax.models.model import Model

ROOT = 64  # tokens that all questions begin with are worth a cache of their own
CHUNK = 1 << 23  # logits that exist at once: 32 MiB in float32, which is faster on CPUs than more
TOKENS = 512  # of a trunk's row at `batch_size` rows; wider rows are fewer


def loglikelihoods(
    model: Model,
    questions: Sequence[Sequence[tuple[list[int], int]]],
    *,
    dtype: Any = jnp.float32,
    batch_size: int = 8,
    sharding: NamedSharding | None = None,
) -> Iterator[tuple[int, list[float]]]:
    """(number of the question, natural log-likelihood of each of its choices), in the order in which they get done.

    A choice is (ids, how many of them are context), as `trees.pairs` makes them. Log probabilities are float32, their
    sums float64. `sharding` says where the rows of a batch lie on a mesh.
    """
    grown_trees = [(number, tree) for number, question in enumerate(questions) for tree in trees(question)]
    sizes = [len(question) for question in questions]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    left = np.bincount([number for number, _ in grown_trees], minlength=len(questions))
    sums = np.zeros(offsets[-1])
    forest = [tree for _, tree in grown_trees]
    root, cache = _root(model, forest, dtype)
    first = [int(offsets[number]) for number, _ in grown_trees]

    def done(owners: Owners, values: tuple[Array, Array], some: list[int]) -> Iterator[tuple[int, list[float]]]:
        for owner, value in zip(owners, values, strict=True):
            mine = owner >= 0
            scores = np.asarray(value)[mine].astype(np.float64)
            np.add(sums, np.bincount(owner[mine], scores, minlength=len(sums)), out=sums)
        for i in some:
            number = grown_trees[i][0]
            left[number] -= 1
            if not left[number]:
                yield number, sums[offsets[number] : offsets[number + 1]].tolist()

    waiting: list[tuple[Owners, tuple[Array, Array], list[int]]] = []  # one batch is computed while another is made
    ways = math.prod(sharding.mesh.shape[axis] for axis in ("data", "fsdp")) if sharding else 1
    for shape, all_rows in rows(forest, root):
        size = -(-min(max(1, batch_size * TOKENS // (shape.width + root)), len(all_rows)) // ways) * ways
        for start in range(0, len(all_rows), size):
            some = all_rows[start : start + size]
            arrays, owners = batch(shape, some, size, first, root)
            placed = jax.device_put(arrays, sharding)
            values = _scored(model.graphdef, model.config, jnp.dtype(dtype), sharding, model.params, cache, placed)
            waiting.append((owners, values, [i for row in some for i, *_ in row.placed]))
            if len(waiting) > 1:
                yield from done(*waiting.pop(0))
    for last in waiting:
        yield from done(*last)


def _root(model: Model, forest: Sequence[Tree], dtype: Any) -> tuple[int, Cache | None]:
    """How many tokens all trunks begin with, and their keys and values; (0, None) where that does not pay."""
    shared = min(common([tree.trunk for tree in forest]), *(tree.scored for tree in forest)) if len(forest) > 1 else 0
    if shared < ROOT:
        return 0, None
    tokens = np.array([forest[0].trunk[:shared]], np.int32)
    return shared, _begun(model.graphdef, model.config, jnp.dtype(dtype), model.params, tokens)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _begun(
    graphdef: nnx.GraphDef, config: DecoderConfig, dtype: Any, params: Params, tokens: Int[Array, "1 r"]
) -> Cache:
    cache = empty(config, 1, tokens.shape[1], dtype)
    positions = jnp.arange(tokens.shape[1])[None]
    return continued(graphdef, params, tokens, positions, jnp.ones_like(tokens), cache)[1]


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _scored(
    graphdef: nnx.GraphDef,
    config: DecoderConfig,
    dtype: Any,
    sharding: NamedSharding | None,
    params: Params,
    root: Cache | None,
    batch: Batch,
) -> tuple[Float[Array, "b n k"], Float[Array, "bk s"]]:
    """ln p of every target of the trunks and of the rows beside them; of what is padding it means nothing."""
    pinned = partial(jax.lax.with_sharding_constraint, shardings=sharding) if sharding else lambda x: x
    tokens, positions, segments, at, targets, *beside_them = (jnp.asarray(array) for array in batch)
    (b, t), k, side = tokens.shape, targets.shape[-1], beside_them[0].shape[1]
    if root is None and not side:
        hidden, cache = hidden_states(graphdef, params, tokens, positions, segments, dtype, constrain=pinned), None
    else:
        begun = empty(config, b, t, dtype) if root is None else grown(repeated(root, b), root.keys.shape[-1] + t)
        hidden, cache = continued(graphdef, params, tokens, positions, segments, begun, constrain=pinned)
    picked = jnp.take_along_axis(hidden, at[..., None], axis=1)
    values = _log_probabilities(config, params, picked, targets)
    beside = jnp.zeros((b * k, 0), jnp.float32)
    if side and cache is not None:
        wide = grown(repeated(cache, k), cache.keys.shape[-1] + side)
        tokens, positions, segments, targets = beside_them
        hidden, _ = continued(graphdef, params, tokens, positions, segments, wide, constrain=pinned)
        beside = _log_probabilities(config, params, hidden, targets[..., None])[..., 0]
    if sharding is None:
        return values, beside
    everywhere = NamedSharding(sharding.mesh, PartitionSpec())
    return jax.lax.with_sharding_constraint((values, beside), everywhere)


def _log_probabilities(
    config: DecoderConfig, params: Params, hidden: Float[Array, "b n d"], targets: Int[Array, "b n k"]
) -> Float[Array, "b n k"]:
    """ln softmax(logits)[targets] in float32; at most `CHUNK` logits (or those of one place a row) exist at once."""
    b, n, _ = hidden.shape
    count = -(-n // min(n, max(1, CHUNK // (b * config.vocab_rows))))
    size = -(-n // count)

    def chunks(x: Array) -> Array:  # [b, n, c] -> [count, b, size, c]
        return jnp.moveaxis(jnp.pad(x, ((0, 0), (0, count * size - n), (0, 0))).reshape(b, count, size, -1), 1, 0)

    def chunk(args: tuple[Array, Array]) -> Array:
        scores = logits(config, params, args[0])
        return jnp.take_along_axis(scores, args[1], axis=-1) - jax.nn.logsumexp(scores, axis=-1, keepdims=True)

    values = jnp.moveaxis(jax.lax.map(chunk, (chunks(hidden), chunks(targets))), 0, 1)
    return values.reshape(b, count * size, -1)[:, :n]
