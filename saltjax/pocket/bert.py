"""A small BERT encoder (Devlin et al. 2019): learned positions, post-norm blocks, GELU, a tied output layer with bias.

Parameters are a plain dict of float32 arrays; the blocks' arrays are stacked on a leading axis and scanned. Kernels
are [in, out]. Only what masked-language-model training on one text needs: no second sentence, no pooler.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from safetensors.numpy import save_file
from transformers import BertConfig, PreTrainedTokenizerFast

NORM_EPS = 1e-12
WORD_SCALE = 0.06  # root mean square of the counted word vectors and of the positions, at the start


@dataclass(frozen=True)
class Shape:
    """The sizes of an encoder; the inner width of its MLPs is four times `hidden_size`."""

    vocab_size: int
    hidden_size: int = 128
    layers: int = 2
    heads: int = 4
    positions: int = 128


def init_params(shape: Shape, seed: int) -> dict:
    """Kernels and tables normal(0, 0.02), zero biases, unit norms, as BERT has them, with two changes of ours.

    The position table, learned later, starts as sinusoids (Vaswani et al. 2017, section 3.5) with wavelengths up to
    600. And what a block adds, as well as the head's dense layer, starts near the identity: then the encoder begins by
    scoring the mean of the context's word vectors against every word vector, a bag-of-words model, instead of sitting
    at the words' frequencies for its first thousand steps.
    """
    d, n = shape.hidden_size, shape.layers
    keys = iter(jax.random.split(jax.random.key(seed), 16))

    def normal(*dims: int) -> Float[Array, "..."]:
        return 0.02 * jax.random.normal(next(keys), dims)

    def dense(inner: int, outer: int, *stack: int) -> dict:
        return {"kernel": normal(*stack, inner, outer), "bias": jnp.zeros((*stack, outer))}

    def near_identity(*stack: int) -> dict:
        return {"kernel": jnp.eye(d) + normal(*stack, d, d), "bias": jnp.zeros((*stack, d))}

    def norm(*stack: int) -> dict:
        return {"scale": jnp.ones((*stack, d)), "bias": jnp.zeros((*stack, d))}

    angles = np.arange(shape.positions)[:, None] / 100 ** (np.arange(0, d, 2) / d)
    position = jnp.asarray(WORD_SCALE * np.sqrt(2) * np.concatenate([np.sin(angles), np.cos(angles)], 1), jnp.float32)
    embeddings = {"word": normal(shape.vocab_size, d), "position": position[:, :d], "type": normal(2, d)}
    blocks = {
        "query": dense(d, d, n),
        "key": dense(d, d, n),
        "value": near_identity(n),
        "attended": near_identity(n),
        "attended_norm": norm(n),
        "up": dense(d, 4 * d, n),
        "down": dense(4 * d, d, n),
        "down_norm": norm(n),
    }
    head = {"dense": near_identity(), "norm": norm(), "bias": jnp.zeros(shape.vocab_size)}
    return {"embeddings": embeddings | {"norm": norm()}, "blocks": blocks, "head": head}


def hidden_states(
    params: dict, tokens: Int[Array, "b t"], mask: Bool[Array, "b t"], heads: int
) -> Float[Array, "b t d"]:
    """The last block's output; positions where `mask` is false are not attended to."""
    table = params["embeddings"]
    x = table["word"][tokens] + table["position"][: tokens.shape[1]] + table["type"][0]
    attend_to = mask[:, None, None, :]

    def block(x: Float[Array, "b t d"], p: dict) -> tuple[Float[Array, "b t d"], None]:
        query, key, value = (_dense(p[name], x).reshape(*x.shape[:2], heads, -1) for name in ("query", "key", "value"))
        attended = jax.nn.dot_product_attention(query, key, value, mask=attend_to).reshape(x.shape)
        x = _norm(p["attended_norm"], x + _dense(p["attended"], attended))
        inner = jax.nn.gelu(_dense(p["up"], x), approximate=False)
        return _norm(p["down_norm"], x + _dense(p["down"], inner)), None

    return jax.lax.scan(block, _norm(table["norm"], x), params["blocks"])[0]


def token_logits(params: dict, hidden: Float[Array, "... d"]) -> Float[Array, "... v"]:
    """Scores over the vocabulary: dense, GELU, norm, then the word table transposed plus a bias."""
    head = params["head"]
    hidden = _norm(head["norm"], jax.nn.gelu(_dense(head["dense"], hidden), approximate=False))
    return hidden @ params["embeddings"]["word"].T + head["bias"]


def _dense(p: dict, x: Float[Array, "... i"]) -> Float[Array, "... o"]:
    return x @ p["kernel"] + p["bias"]


def _norm(p: dict, x: Float[Array, "... d"]) -> Float[Array, "... d"]:
    mean = x.mean(-1, keepdims=True)
    variance = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + NORM_EPS) * p["scale"] + p["bias"]


# ---- as an ordinary Hugging Face directory: our name -> theirs, inside block N and outside

BLOCK_NAMES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attended": "attention.output.dense",
    "attended_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "down_norm": "output.LayerNorm",
}


def write_bert(
    out: str | Path, params: dict, heads: int, tokenizer: PreTrainedTokenizerFast, dtype: np.dtype | type = np.float32
) -> Path:
    """A directory that `BertForMaskedLM` and `AutoTokenizer` load: config, tokenizer, weights in `dtype`."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    vocab_size, hidden_size = params["embeddings"]["word"].shape
    BertConfig(
        architectures=["BertForMaskedLM"],
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=params["blocks"]["query"]["bias"].shape[0],
        num_attention_heads=heads,
        intermediate_size=params["blocks"]["up"]["bias"].shape[1],
        max_position_embeddings=params["embeddings"]["position"].shape[0],
        hidden_act="gelu",
        layer_norm_eps=NORM_EPS,
        pad_token_id=tokenizer.pad_token_id,
        dtype=np.dtype(dtype).name,
    ).save_pretrained(out)
    tokenizer.save_pretrained(out)
    tensors = {name: np.ascontiguousarray(value, dtype) for name, value in _hugging_face(params)}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    return out


def _hugging_face(params: dict) -> Iterator[tuple[str, Array | np.ndarray]]:
    """(HF tensor name, array); torch keeps kernels as [out, in]. The tied decoder is not stored twice."""

    def module(name: str, p: dict) -> Iterator[tuple[str, Array | np.ndarray]]:
        yield f"{name}.weight", p["kernel"].T if "kernel" in p else p["scale"]
        yield f"{name}.bias", p["bias"]

    embeddings, head = params["embeddings"], params["head"]
    for ours, theirs in (("word", "word"), ("position", "position"), ("type", "token_type")):
        yield f"bert.embeddings.{theirs}_embeddings.weight", embeddings[ours]
    yield from module("bert.embeddings.LayerNorm", embeddings["norm"])
    for ours, theirs in BLOCK_NAMES.items():
        for layer in range(params["blocks"][ours]["bias"].shape[0]):
            one = {key: value[layer] for key, value in params["blocks"][ours].items()}
            yield from module(f"bert.encoder.layer.{layer}.{theirs}", one)
    yield from module("cls.predictions.transform.dense", head["dense"])
    yield from module("cls.predictions.transform.LayerNorm", head["norm"])
    yield "cls.predictions.bias", head["bias"]
