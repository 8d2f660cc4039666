"""Bits per byte: how well a model predicts held-out text, comparable between vocabularies."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int
from transformers import PreTrainedTokenizerBase

from saltjax.data.corpus import documents
from saltjax.data.encode import Batch, Counts, begin_of_text, encoded, plain_backend
from saltjax.data.tokens import TokenStore
from saltjax.data.windows import NAMES, Windows
from saltjax.errors import UserError
from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import Params, hidden_states, logits
from saltjax.models.load import Model

CHUNK_LOGITS = 1 << 25  # logits that exist at once: 128 MiB in float32


@dataclass(frozen=True)
class BitsPerByte:
    bits_per_byte: float
    interval: tuple[float, float] | None  # 95 %, over documents; None for a single one
    bytes: int  # UTF-8, without line ends
    documents: int
    tokens: int  # scored ones
    unknown: int  # of these, unk: where there are any, text was lost and the score flatters


@dataclass(frozen=True)
class HeldOut:
    """Held-out text, tokenised and packed once, to be scored often (`score`).

    Windows of `seq_len - 1` tokens of one document, each behind a BOS, share rows as segments do in training: no
    window sees another, and short lines cost no padding. Of examples (`heldexamples.py`) answers
    alone are scored, and their bytes alone counted.
    """

    windows: Windows
    bytes: Int[np.ndarray, " documents"]
    counts: Counts

    def rows(self, start: int, count: int) -> dict[str, Int[np.ndarray, "rows seq_len"]]:
        """`tokens segments positions` as in `Windows`, and `document`: of each scored token, else -1 (BOS, padding).

        Rows behind the last one are padding.
        """
        rows = {name: np.zeros((count, self.windows.seq_len), np.int32) for name in NAMES}
        rows["document"] = np.full_like(rows["tokens"], -1)
        for row, index in enumerate(range(start, min(start + count, len(self.windows)))):
            window = self.windows[index]
            scored = window.pop("learns", window["positions"]) > 0
            for name, values in window.items():
                rows[name][row] = values
            document = self.windows.documents(index)
            rows["document"][row][scored] = document[rows["segments"][row][scored] - 1]
        return rows


def held_out(path: str | Path, tokenizer: PreTrainedTokenizerBase, seq_len: int) -> HeldOut:
    """Raises UserError: see `data.corpus.documents`, `data.tokens.begin_of_text`; seq_len below 2."""
    batches = list(encoded(plain_backend(tokenizer), documents(path)))
    text = Batch(*(np.concatenate(parts) for parts in zip(*(batch[:3] for batch in batches), strict=True)))
    counts = Counts.of(text, tokenizer.unk_token_id)
    store = TokenStore(text.tokens, np.cumsum(text.lengths), begin_of_text(tokenizer), None, counts)
    return HeldOut(Windows(store, seq_len), text.bytes, counts)


def bits_per_byte(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    path: str | Path,
    seq_len: int,
    batch_size: int = 8,
    dtype: Any = jnp.float32,
) -> BitsPerByte:
    """Bits per byte of the text file under the model: -sum log2 p(token | window before it) / UTF-8 bytes.

    One line is one document, empty lines are skipped. Its tokens, no specials added, are cut into consecutive windows
    of `seq_len - 1`, each prefixed by BOS, which is not scored; there is no EOS. Line ends are not counted as bytes.
    `dtype` is that of the computation; log probabilities are float32, their sum float64.

    Raises UserError: see `held_out`, `score`.
    """
    return score(model.config, model.graphdef, model.params, held_out(path, tokenizer, seq_len), batch_size, dtype)


def score(
    config: DecoderConfig,
    graphdef: nnx.GraphDef,
    params: Params,
    held: HeldOut,
    batch_size: int = 8,
    dtype: Any = jnp.float32,
) -> BitsPerByte:
    """The score of text prepared by `held_out`. Compiled once for a text and a model, whatever the params.

    Params on a mesh stay where they are; the batch is cut along its axes `data` and `fsdp` and rounded up to them.

    Raises UserError: the model has fewer rows than the tokenizer has ids, or fewer positions than `seq_len`.
    """
    if held.counts.largest_id >= config.vocab_size:
        raise UserError(
            f"the tokenizer gives id {held.counts.largest_id}, but the model has {config.vocab_size} embedding rows; "
            "they do not belong together"
        )
    if held.windows.seq_len > config.max_positions:
        raise UserError(f"seq_len={held.windows.seq_len} is more than the model's {config.max_positions} positions")
    mesh = _mesh(params)
    parts = math.prod(mesh.shape.get(axis, 1) for axis in ("data", "fsdp")) if mesh else 1
    rows = -(-min(batch_size, max(1, len(held.windows))) // parts) * parts

    nats = np.zeros(len(held.bytes))
    for start in range(0, len(held.windows), rows):
        batch = held.rows(start, rows)
        document = batch.pop("document")
        placed = {name: _placed(values, mesh) for name, values in batch.items()}
        nll = np.asarray(token_nll(config, graphdef, params, **placed, dtype=jnp.dtype(dtype), mesh=mesh))
        scored = document >= 0
        nats += np.bincount(document[scored], nll[scored].astype(np.float64), minlength=len(nats))
    bits, total = nats / math.log(2), int(held.bytes.sum())
    counts = held.counts
    return BitsPerByte(
        float(bits.sum()) / total, interval(bits, held.bytes), total, len(bits), counts.tokens, counts.unknown
    )


@partial(jax.jit, static_argnames=("config", "graphdef", "dtype", "mesh"))
def token_nll(
    config: DecoderConfig,
    graphdef: nnx.GraphDef,
    params: Params,
    tokens: Int[Array, "b t"],
    segments: Int[Array, "b t"],
    positions: Int[Array, "b t"],
    dtype: Any,
    mesh: Any = None,
) -> Float[Array, "b t"]:
    """-ln p(tokens[:, i] | tokens[:, :i] of the same segment) in float32; means nothing where a segment begins.

    Logits are made for some places of each row at a time, so at most `CHUNK_LOGITS` of them (or b * V) exist.
    """
    hidden = hidden_states(graphdef, params, tokens, positions, segments, dtype)
    targets = jnp.roll(tokens, -1, axis=1)
    b, t = tokens.shape
    count = -(-t // min(t, max(1, CHUNK_LOGITS // (b * config.vocab_rows))))
    size = -(-t // count)

    def chunks(x: Array) -> Array:  # [b, t, ...] -> [count, b, size, ...]
        x = jnp.pad(x, [(0, 0), (0, count * size - t)] + [(0, 0)] * (x.ndim - 2))
        return jnp.moveaxis(x.reshape(b, count, size, *x.shape[2:]), 1, 0)

    def nll(args: tuple[Array, Array]) -> Array:
        scores = logits(config, params, args[0]).astype(jnp.float32)
        picked = jnp.take_along_axis(scores, args[1][..., None], axis=-1)[..., 0]
        return jax.nn.logsumexp(scores, axis=-1) - picked

    values = jnp.moveaxis(jax.lax.map(nll, (chunks(hidden), chunks(targets))), 0, 1)
    values = jnp.roll(values.reshape(b, -1)[:, :t], 1, axis=1)
    if mesh is not None:
        values = jax.lax.with_sharding_constraint(values, NamedSharding(mesh, PartitionSpec()))
    return values


def _mesh(params: Params) -> Any:
    sharding = jax.tree.leaves(params)[0].sharding
    return sharding.mesh if isinstance(sharding, NamedSharding) else None


def _placed(values: Int[np.ndarray, "b t"], mesh: Any) -> Int[Array, "b t"]:
    if mesh is None:
        return jnp.asarray(values)
    axes = tuple(axis for axis in ("data", "fsdp") if axis in mesh.shape)
    sharding = NamedSharding(mesh, PartitionSpec(axes or None))
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])


def interval(bits: Float[np.ndarray, " documents"], size: Int[np.ndarray, " documents"]) -> tuple[float, float] | None:
    """95 % interval of sum(bits) / sum(size) over independent documents, each with its bits and bytes; None for one.

    The linearised ratio estimator, Cochran 1977, Sampling Techniques, section 2.11.
    """
    n, total = len(bits), size.sum()
    if n < 2:
        return None
    ratio = bits.sum() / total
    residual = bits - ratio * size
    half = 1.96 * math.sqrt(n / (n - 1) * (residual @ residual)) / total
    return float(ratio - half), float(ratio + half)
