"""Tiny random decoders of every family, made with transformers: norms and biases are random too, shapes are odd."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

VOCAB = 131
SIZES = {
    "vocab_size": VOCAB, "hidden_size": 36, "intermediate_size": 46, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 10, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
}  # fmt: skip
TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
ALTERNATING = ["sliding_attention", "full_attention", "sliding_attention"]
YARN = {"rope_type": "yarn", "rope_theta": 700.0, "factor": 4.0, "original_max_position_embeddings": 16}


@dataclass(frozen=True)
class Kind:
    """A model class of transformers and the settings of its configuration."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, Any] = field(default_factory=lambda: SIZES)
    centre: float = 1.0  # of the norms' stored scale

    def config(self, **changes: Any) -> Any:
        return getattr(transformers, f"{self.name}Config")(**{**self.sizes, **TOKENS, **self.settings, **changes})


ZOO = {
    "llama": Kind("Llama"),
    "llama-yarn": Kind("Llama", {"rope_parameters": YARN, "attention_bias": True, "mlp_bias": True}),
    "llama-yarn-mscale": Kind(
        "Llama",
        {
            "rope_parameters": {
                **YARN, "mscale": 0.7, "mscale_all_dim": 0.3, "beta_fast": 5.0, "beta_slow": 0.6, "truncate": False,
            },
            "head_dim": 32,
        },
    ),
    "mistral": Kind("Mistral", {"sliding_window": 7, "num_key_value_heads": 1}),
    "qwen2": Kind("Qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    "qwen3": Kind("Qwen3", {"num_key_value_heads": 3, "tie_word_embeddings": True}),
    "gemma": Kind("Gemma", {"num_key_value_heads": 1}, centre=0.0),
    "gemma2": Kind(
        "Gemma2",
        {
            "sliding_window": 6, "query_pre_attn_scalar": 17, "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
        },
        centre=0.0,
    ),
    "gemma3": Kind(
        "Gemma3Text",
        {
            "sliding_window": 6, "query_pre_attn_scalar": 23, "layer_types": ALTERNATING, "num_key_value_heads": 3,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            },
        },
        centre=0.0,
    ),
    "olmo2": Kind("Olmo2", {"attention_bias": True}),
    "smollm3": Kind("SmolLM3", {"no_rope_layers": [1, 0, 1], "use_sliding_window": True, "sliding_window": 7}),
    "phi3": Kind("Phi3", {
        "head_dim": 16, "sliding_window": 9,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.75},
    }),
    "phi3-longrope": Kind("Phi3", {  # of 512 positions, 40 of them of pre-training
        "hidden_size": 60, "max_position_embeddings": 512, "original_max_position_embeddings": 40,
        "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 0.8,
            "short_factor": [1.0, 1.1, 1.7, 2.3], "long_factor": [1.0, 4.0, 9.0, 20.0],
        },
    }),
    "gpt2": Kind(
        "GPT2", sizes={"vocab_size": VOCAB, "n_embd": 42, "n_layer": 3, "n_head": 6, "n_inner": 46, "n_positions": 64}
    ),
    "xglm": Kind(
        "XGLM", {"pad_token_id": 9},  # which zeroes the vector of position 7
        {
            "vocab_size": VOCAB, "d_model": 35, "num_layers": 3, "attention_heads": 5, "ffn_dim": 47,
            "max_position_embeddings": 64,
        },
    ),
    "mixtral": Kind("Mixtral", {"num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": 11}),
    "qwen3_moe": Kind("Qwen3Moe", {
        "num_experts": 7, "num_experts_per_tok": 3, "moe_intermediate_size": 18, "norm_topk_prob": False,
    }),
}  # fmt: skip


def make(name: str, path: Path, seed: int = 0, **changes: Any) -> Any:
    """The PyTorch model, in float32 and with eager attention; saved at `path`."""
    kind = ZOO[name]
    torch.manual_seed(seed)
    eager = {"attn_implementation": "eager", "experts_implementation": "eager"}
    model = transformers.AutoModelForCausalLM.from_config(kind.config(**changes), **eager).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            norm = key.endswith("weight") and ("norm" in key or "ln_" in key)
            parameter.normal_(kind.centre if norm else 0.0, 0.15)
    model.save_pretrained(path)
    return model
