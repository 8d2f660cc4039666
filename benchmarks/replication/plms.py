"""The source LLM, and PLMs like BERT and GPT; `t5.py` has the third kind. Each is made once and then kept."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from settings import Model
from transformers import GPT2Config, PreTrainedTokenizerFast

from saltjax import api
from saltjax.data.corpus import file_source
from saltjax.hub.directory import whole_directory
from saltjax.models.export import write_model
from saltjax.models.families import family_of
from saltjax.models.model import random_model
from saltjax.pocket import bert, mlm, tokenizers
from saltjax.pocket.cooccurrence import word_vectors
from saltjax.pocket.llm import write_llama

TOKENIZER_LINES = 8_000
GPT_SCALE = bert.WORD_SCALE


def make_llm(out: Path, text: Path, size: Model, valid: list[str]) -> Path:
    """A Llama with its own byte-level BPE, trained by `api.adapt`: interrupted, it goes on from its last checkpoint."""
    if not out.exists():
        fresh = out.with_name("llm-fresh")
        if not fresh.exists():
            tokenizer = tokenizers.train_byte_bpe(lines_of(text)[:TOKENIZER_LINES], size.vocab_size)
            sizes = {name: getattr(size, name) for name in ("hidden_size", "layers", "heads", "kv_heads", "positions")}
            with whole_directory(fresh) as partial:
                write_llama(partial, tokenizer, **sizes)
        _trained(fresh, out, text, size, valid)
    return out


def make_bert(out: Path, text: Path, size: Model) -> Path:
    if not out.exists():
        lines = lines_of(text)
        tokenizer = tokenizers.train_wordpiece(lines, size.vocab_size, least_count(lines))
        shape = bert.Shape(len(tokenizer), size.hidden_size, size.layers, size.heads, size.positions)
        recipe = mlm.Recipe(size.steps, size.batch_size, size.seq_len, size.learning_rate, size.warmup_steps)
        trained = mlm.train_mlm(lines, tokenizer, shape, recipe)
        with whole_directory(out) as partial:
            bert.write_bert(partial, trained.params, shape.heads, tokenizer)
    return out


def make_gpt(out: Path, text: Path, size: Model) -> Path:
    if not out.exists():
        fresh = out.with_name(f"{out.name}-fresh")
        if not fresh.exists():
            lines = lines_of(text)
            tokenizer = tokenizers.train_byte_bpe(lines[:TOKENIZER_LINES], size.vocab_size)
            with whole_directory(fresh) as partial:
                _write_gpt2(partial, tokenizer, size, lines)
        _trained(fresh, out, text, size, [])
    return out


def counted_rows(table: np.ndarray, ids: np.ndarray, tokenizer: Any, scale: float) -> np.ndarray:
    """`table` with the rows of tokens that occur in the text set to its co-occurrence vectors, of root mean square
    `scale`. BERT's start so too (`pocket.mlm.starting_params`): minutes of training alone leave rows near noise."""
    vectors = word_vectors(ids, *table.shape, tokenizer.all_special_ids)
    seen = np.flatnonzero(vectors.any(axis=1))
    lengths = np.linalg.norm(vectors[seen], axis=1, keepdims=True)
    table = np.array(table, np.float32)
    table[seen] = vectors[seen] * (scale * np.sqrt(table.shape[1]) / lengths)
    return table


def stream(lines: list[str], tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """All documents' ids, each followed by the tokenizer's EOS, int32."""
    encodings = tokenizer.backend_tokenizer.encode_batch_fast(lines, add_special_tokens=False)
    return np.concatenate([np.array([*one.ids, tokenizer.eos_token_id], np.int32) for one in encodings])


def lines_of(text: Path) -> list[str]:
    return list(file_source(text).documents())


def least_count(lines: list[str]) -> int:
    """How often a character must occur to get a token (ours): articles quote names in many other scripts, which would
    fill half of a small vocabulary."""
    return max(2, round(5e-6 * sum(map(len, lines))))


def without_rare(lines: list[str]) -> list[str]:
    counts = Counter(char for line in lines for char in line)
    least = least_count(lines)
    rare = {ord(char): " " for char, count in counts.items() if count < least}
    return [line.translate(rare) for line in lines]


def _write_gpt2(out: Path, tokenizer: PreTrainedTokenizerFast, size: Model, lines: list[str]) -> None:
    config = GPT2Config(
        architectures=["GPT2LMHeadModel"],
        vocab_size=len(tokenizer),
        n_embd=size.hidden_size,
        n_layer=size.layers,
        n_head=size.heads,
        n_positions=size.positions,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        dtype="float32",
    )
    config.save_pretrained(out)
    tokenizer.save_pretrained(out)
    model = random_model(family_of(config).decoder_config(config), seed=0)
    embed = model.params["embed"]
    embed["table"] = jnp.asarray(
        counted_rows(np.asarray(embed["table"]), stream(lines, tokenizer), tokenizer, GPT_SCALE)
    )
    write_model(out, model.config, model.params, model.dtypes)


def _trained(fresh: Path, out: Path, text: Path, size: Model, valid: list[str]) -> None:
    """`fresh` after its training, as `out`. KeyboardInterrupt when a signal has ended it; it is saved then."""
    run = out.with_name(f"{out.name}-run")
    settings = {name: getattr(size, name) for name in ("steps", "batch_size", "seq_len", "learning_rate")}
    settings |= {"warmup_steps": size.warmup_steps, "weight_decay": 0.1, "keep_checkpoints": 1}
    settings |= {"eval_every": 500, "checkpoint_every": 250, "cache": out.parent.parent / "tokens"}
    settings |= {"mesh.data": 1, "mesh.fsdp": 1, "mesh.tensor": 1}
    overrides = [f"{key}={value}" for key, value in settings.items()]
    if api.adapt(fresh, run, text=[text], valid=valid, overrides=overrides)["interrupted"]:
        raise KeyboardInterrupt
    api.export(run, out)
    shutil.rmtree(run)
    shutil.rmtree(fresh)
