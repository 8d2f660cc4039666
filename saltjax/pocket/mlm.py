"""Masked-language-model training on one text, the whole of it on the device.

The documents become one stream of tokens, joined by [SEP]. A step looks at `batch_size` windows that start anywhere
in the stream, framed by [CLS] and [SEP] (the full-sentences format of RoBERTa, Liu et al. 2019, section 4.2), hides
`mask_share` of their tokens (80 % [MASK], 10 % any token, 10 % unchanged) and predicts them. Short windows and twice
BERT's share (0.3 against 0.15; Wettig et al. 2023 find that more is better) give most predictions for the time. Steps
are scanned, so Python is left out of the loop.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import PreTrainedTokenizerFast

from saltjax.pocket import bert
from saltjax.pocket.cooccurrence import word_vectors


@dataclass(frozen=True)
class Recipe:
    """How to train: AdamW (b2 0.98, as RoBERTa), linear warmup, cosine to a tenth of the peak, clipped at norm 1."""

    steps: int
    batch_size: int = 64
    seq_len: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    weight_decay: float = 0.01
    mask_share: float = 0.3
    seed: int = 0
    log_every: int = 25


@dataclass(frozen=True)
class Trained:
    """Parameters and the curve of mean negative log-likelihoods (nats per hidden token): (step, training, held-out)."""

    params: dict
    curve: list[tuple[int, float, float]]


def train_mlm(
    lines: Iterable[str],
    tokenizer: PreTrainedTokenizerFast,
    shape: bert.Shape,
    recipe: Recipe,
    valid: Iterable[str] = (),
    title: str = "masked language model",
) -> Trained:
    """Train an encoder on documents, one a line. `valid` gives held-out documents (the curve has nan without them).

    Errors: ValueError when the text is shorter than one window, or the window longer than the encoder's positions.
    """
    if recipe.seq_len > shape.positions:
        raise ValueError(f"seq_len {recipe.seq_len} exceeds the encoder's {shape.positions} positions")
    stream = token_stream(lines, tokenizer)
    if len(stream) < recipe.seq_len:
        raise ValueError(f"the text has {len(stream)} tokens, fewer than one window of {recipe.seq_len}")
    ids = SpecialIds(tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id)
    held_out = _windows(token_stream(valid, tokenizer), ids, recipe.seq_len)

    params = starting_params(stream, shape, tokenizer.all_special_ids, recipe.seed)
    optimiser = _optimiser(recipe)
    state = (params, optimiser.init(params))
    run = jax.jit(partial(_run, optimiser, recipe, shape, ids), static_argnums=3, donate_argnums=0)
    score = jax.jit(partial(_held_out_loss, recipe, shape, ids))
    curve = []
    stream_on_device = jnp.asarray(stream)
    with _progress() as progress:
        task = progress.add_task(title, total=recipe.steps, loss="")
        for start in range(0, recipe.steps, recipe.log_every):
            count = min(recipe.log_every, recipe.steps - start)
            state, loss = run(state, stream_on_device, start, count)
            held = float(score(state[0], held_out)) if len(held_out) else math.nan
            curve.append((start + count, float(loss), held))
            text = f"loss {curve[-1][1]:.3f}" + (f", held-out {held:.3f}" if len(held_out) else "")
            progress.update(task, advance=count, loss=text)
    return Trained(state[0], curve)


def starting_params(stream: Int[np.ndarray, "n"], shape: bert.Shape, specials: Sequence[int], seed: int) -> dict:
    """`bert.init_params` with two things that counting already knows: the word table holds the text's co-occurrence
    vectors (`cooccurrence.word_vectors`; ids without any keep random rows), the output bias its log frequencies.
    """
    params = bert.init_params(shape, seed)
    vectors = word_vectors(stream, shape.vocab_size, shape.hidden_size, specials, seed=seed)
    seen = np.flatnonzero(np.any(vectors, axis=1))
    if len(seen):
        # One length for all (ours): a count's length says how frequent a word is, which the output bias knows already.
        lengths = np.linalg.norm(vectors[seen], axis=1, keepdims=True)
        scaled = vectors[seen] * (bert.WORD_SCALE * np.sqrt(shape.hidden_size) / lengths)
        params["embeddings"]["word"] = params["embeddings"]["word"].at[seen].set(scaled)
    counts = np.bincount(stream, minlength=shape.vocab_size) + 1.0
    params["head"]["bias"] = jnp.asarray(np.log(counts / counts.sum()), jnp.float32)
    return params


@dataclass(frozen=True)
class SpecialIds:
    cls: int
    sep: int
    mask: int


def token_stream(lines: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> Int[np.ndarray, "n"]:
    """All documents' ids, each followed by [SEP], as one int32 array."""
    end = tokenizer.sep_token_id
    pieces: list[np.ndarray] = []
    for block in _blocks(lines, 1024):
        for encoding in tokenizer.backend_tokenizer.encode_batch_fast(block, add_special_tokens=False):
            pieces.append(np.array([*encoding.ids, end], np.int32))
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int32)


def _blocks(lines: Iterable[str], size: int):
    block = []
    for line in lines:
        block.append(line)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block


def _windows(stream: Int[np.ndarray, "n"], ids: SpecialIds, seq_len: int) -> Int[np.ndarray, "w t"]:
    """The stream cut into framed windows, in order; what is left over at its end is dropped."""
    body = stream[: len(stream) // (seq_len - 2) * (seq_len - 2)].reshape(-1, seq_len - 2)
    return np.pad(np.pad(body, ((0, 0), (1, 0)), constant_values=ids.cls), ((0, 0), (0, 1)), constant_values=ids.sep)


def _sample(key: Array, stream: Int[Array, "n"], ids: SpecialIds, recipe: Recipe) -> Int[Array, "b t"]:
    body = recipe.seq_len - 2
    starts = jax.random.randint(key, (recipe.batch_size,), 0, stream.shape[0] - body + 1)
    windows = stream[starts[:, None] + jnp.arange(body)]
    return jnp.pad(
        jnp.pad(windows, ((0, 0), (1, 0)), constant_values=ids.cls), ((0, 0), (0, 1)), constant_values=ids.sep
    )


def masked_loss(
    params: dict, key: Array, windows: Int[Array, "b t"], ids: SpecialIds, shape: bert.Shape, mask_share: float
) -> Float[Array, ""]:
    """Mean negative log-likelihood (nats) of the hidden tokens; the same number is hidden in every window, never [CLS]
    or [SEP]. Only the hidden positions reach the output layer."""
    choose, how, other = jax.random.split(key, 3)
    count = max(1, round(mask_share * (windows.shape[1] - 2)))
    noise = jnp.where((windows == ids.cls) | (windows == ids.sep), -1.0, jax.random.uniform(choose, windows.shape))
    value, where = jax.lax.top_k(noise, count)
    rows = jnp.arange(len(windows))[:, None]
    truth = windows[rows, where]
    draw = jax.random.uniform(how, truth.shape)
    anything = jax.random.randint(other, truth.shape, 0, shape.vocab_size)
    shown = jnp.where(draw < 0.8, ids.mask, jnp.where(draw < 0.9, anything, truth))
    counted = value >= 0  # a window of little but separators may have fewer tokens to hide
    seen = windows.at[rows, where].set(jnp.where(counted, shown, truth))
    hidden = bert.hidden_states(params, seen, jnp.ones_like(seen, bool), shape.heads)
    nll = optax.softmax_cross_entropy_with_integer_labels(bert.token_logits(params, hidden[rows, where]), truth)
    return jnp.sum(nll * counted) / jnp.maximum(jnp.sum(counted), 1)


def _run(optimiser, recipe: Recipe, shape: bert.Shape, ids: SpecialIds, state, stream, start, count: int):
    """`count` steps from step `start`; returns the state and the mean loss."""

    def step(state, number):
        params, moments = state
        sample, mask = jax.random.split(jax.random.fold_in(jax.random.key(recipe.seed), number))
        windows = _sample(sample, stream, ids, recipe)
        loss, grads = jax.value_and_grad(masked_loss)(params, mask, windows, ids, shape, recipe.mask_share)
        updates, moments = optimiser.update(grads, moments, params)
        return (optax.apply_updates(params, updates), moments), loss

    state, losses = jax.lax.scan(step, state, start + jnp.arange(count))
    return state, losses.mean()


def _held_out_loss(
    recipe: Recipe, shape: bert.Shape, ids: SpecialIds, params: dict, windows: Int[Array, "n t"]
) -> Float[Array, ""]:
    """The mean over all windows, in each of which the same tokens are hidden every time."""

    def score(both: tuple[Array, Array]) -> Float[Array, ""]:
        key, window = both
        return masked_loss(params, key, window[None], ids, shape, recipe.mask_share)

    keys = jax.random.split(jax.random.key(1), len(windows))
    return jnp.mean(jax.lax.map(score, (keys, windows), batch_size=recipe.batch_size))


def _optimiser(recipe: Recipe) -> optax.GradientTransformation:
    warmup = min(recipe.warmup_steps, max(1, recipe.steps - 1))
    peak = recipe.learning_rate
    rate = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, recipe.steps, 0.1 * peak)
    decayed = partial(jax.tree.map, lambda x: x.ndim > 1)
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(rate, b2=0.98, eps=1e-6, weight_decay=recipe.weight_decay, mask=decayed),
    )


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    return Progress(*columns, console=Console(stderr=True))
