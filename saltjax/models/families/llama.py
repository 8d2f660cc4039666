"""Llama 1, 2 and 3.x (Touvron et al. 2023; Grattafiori et al. 2024), and what shares `model_type: llama`."""

from saltjax.models.families.family import Family, Row

LLAMA = Family(
    name="llama",
    model_types=("llama",),
    rename={
        "vocab_size": "vocab_size",
        "hidden_size": "hidden_size",
        "num_hidden_layers": "layers",
        "num_attention_heads": "heads",
        "num_key_value_heads": "kv_heads",
        "head_dim": "head_dim",
        "intermediate_size": "mlp_size",
        "max_position_embeddings": "max_positions",
        "rms_norm_eps": "norm_eps",
        "tie_word_embeddings": "tie_embeddings",
        "attention_bias": "attention_bias",
        "mlp_bias": "mlp_bias",
    },
    require={
        "hidden_act": ("silu", "swish"),
        "pretraining_tp": (1, None),
        "attention_dropout": (0.0, None),  # we train without dropout
    },
    rows=(
        Row("model.embed_tokens.weight", "embed.table", "v d -> v d"),
        Row("model.layers.{}.input_layernorm.weight", "layers.attn_norm.scale", "d -> d"),
        Row("model.layers.{}.self_attn.q_proj.weight", "layers.attn.q", "(h k) d -> d h k"),
        Row("model.layers.{}.self_attn.k_proj.weight", "layers.attn.k", "(h k) d -> d h k"),
        Row("model.layers.{}.self_attn.v_proj.weight", "layers.attn.v", "(h k) d -> d h k"),
        Row("model.layers.{}.self_attn.o_proj.weight", "layers.attn.o", "d (h k) -> h k d"),
        Row("model.layers.{}.self_attn.q_proj.bias", "layers.attn.q_bias", "(h k) -> h k"),
        Row("model.layers.{}.self_attn.k_proj.bias", "layers.attn.k_bias", "(h k) -> h k"),
        Row("model.layers.{}.self_attn.v_proj.bias", "layers.attn.v_bias", "(h k) -> h k"),
        Row("model.layers.{}.self_attn.o_proj.bias", "layers.attn.o_bias", "d -> d"),
        Row("model.layers.{}.post_attention_layernorm.weight", "layers.mlp_norm.scale", "d -> d"),
        Row("model.layers.{}.mlp.gate_proj.weight", "layers.mlp.gate", "f d -> d f"),
        Row("model.layers.{}.mlp.up_proj.weight", "layers.mlp.up", "f d -> d f"),
        Row("model.layers.{}.mlp.down_proj.weight", "layers.mlp.down", "d f -> f d"),
        Row("model.layers.{}.mlp.gate_proj.bias", "layers.mlp.gate_bias", "f -> f"),
        Row("model.layers.{}.mlp.up_proj.bias", "layers.mlp.up_bias", "f -> f"),
        Row("model.layers.{}.mlp.down_proj.bias", "layers.mlp.down_bias", "d -> d"),
        Row("model.norm.weight", "norm.scale", "d -> d"),
        Row("lm_head.weight", "head.table", "v d -> v d"),
    ),
    ignored=(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),  # a buffer that old checkpoints stored
    tied_copies=("lm_head.weight",),
)
