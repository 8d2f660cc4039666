"""A small Llama with random weights as an ordinary Hugging Face directory, ready for `saltjax adapt`."""

from pathlib import Path

import jax.numpy as jnp
from transformers import LlamaConfig, PreTrainedTokenizerFast

from saltjax.models.export import write_model
from saltjax.models.families import family_of
from saltjax.models.model import random_model


def write_llama(
    out: str | Path,
    tokenizer: PreTrainedTokenizerFast,
    *,
    hidden_size: int,
    layers: int,
    heads: int,
    kv_heads: int,
    positions: int,
    tied: bool = True,
    dtype: str = "float32",
    seed: int = 0,
) -> Path:
    """config.json, safetensors in `dtype` (what training exports, too) and the tokenizer; the MLP is 8/3 as wide as the
    model (Llama's share), rounded up to a multiple of 16. Same arguments, same bytes."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    config = LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=-(-hidden_size * 8 // 3 // 16) * 16,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=positions,
        tie_word_embeddings=tied,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        dtype=dtype,
    )
    config.save_pretrained(out)
    tokenizer.save_pretrained(out)
    model = random_model(family_of(config).decoder_config(config), seed)
    dtypes = dict.fromkeys(model.dtypes, jnp.dtype(dtype))
    write_model(out, model.config, model.params, dtypes)
    return out
