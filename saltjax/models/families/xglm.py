"""XGLM (Lin et al. 2022): LayerNorm, biases everywhere, sinusoidal positions, embeddings multiplied by sqrt(d)."""

from saltjax.models.families.family import Family, Read, Row
from saltjax.models.families.ropes import no_rope
from saltjax.models.positions import OFFSET

XGLM = Family(
    name="xglm",
    model_types=("xglm",),
    rename={
        "vocab_size": "vocab_size",
        "d_model": "hidden_size",
        "num_layers": "layers",
        "attention_heads": "heads",
        "ffn_dim": "mlp_size",
        "max_position_embeddings": "max_positions",
        "tie_word_embeddings": "tie_embeddings",
    },
    require={"activation_function": ("gelu",), "add_cross_attention": (False,)},
    read={
        "kv_heads": Read(("attention_heads",), lambda heads: heads),
        "head_dim": Read(("d_model", "attention_heads"), lambda hidden, heads: hidden // heads),
        "embed_scale": Read(("scale_embedding", "d_model"), lambda scaled, hidden: hidden**0.5 if scaled else 1.0),
        # PyTorch zeroes the vector of the padding id among those of the positions, which start at 2.
        "zero_position": Read(("pad_token_id",), lambda pad: None if pad is None or pad < OFFSET else pad - OFFSET),
    },
    fixed={
        "norm": "layer",
        "norm_eps": 1e-5,
        "positions": "sinusoidal",
        "attention_bias": True,
        "activation": "gelu",
        "gated": False,
        "mlp_bias": True,
    },
    harmless=("dropout", "attention_dropout", "activation_dropout", "layerdrop", "init_std", "decoder_start_token_id"),
    rope=no_rope,
    rows=(
        Row("model.embed_tokens.weight", "embed.table", "v d -> v d"),
        Row("model.layers.{}.self_attn_layer_norm.weight", "layers.attn_norm.scale", "d -> d"),
        Row("model.layers.{}.self_attn_layer_norm.bias", "layers.attn_norm.bias", "d -> d"),
        Row("model.layers.{}.self_attn.q_proj.weight", "layers.attn.q", "(h k) d -> d h k"),
        Row("model.layers.{}.self_attn.q_proj.bias", "layers.attn.q_bias", "(h k) -> h k"),
        Row("model.layers.{}.self_attn.k_proj.weight", "layers.attn.k", "(h k) d -> d h k"),
        Row("model.layers.{}.self_attn.k_proj.bias", "layers.attn.k_bias", "(h k) -> h k"),
        Row("model.layers.{}.self_attn.v_proj.weight", "layers.attn.v", "(h k) d -> d h k"),
        Row("model.layers.{}.self_attn.v_proj.bias", "layers.attn.v_bias", "(h k) -> h k"),
        Row("model.layers.{}.self_attn.out_proj.weight", "layers.attn.o", "d (h k) -> h k d"),
        Row("model.layers.{}.self_attn.out_proj.bias", "layers.attn.o_bias", "d -> d"),
        Row("model.layers.{}.final_layer_norm.weight", "layers.mlp_norm.scale", "d -> d"),
        Row("model.layers.{}.final_layer_norm.bias", "layers.mlp_norm.bias", "d -> d"),
        Row("model.layers.{}.fc1.weight", "layers.mlp.up", "f d -> d f"),
        Row("model.layers.{}.fc1.bias", "layers.mlp.up_bias", "f -> f"),
        Row("model.layers.{}.fc2.weight", "layers.mlp.down", "d f -> f d"),
        Row("model.layers.{}.fc2.bias", "layers.mlp.down_bias", "d -> d"),
        Row("model.layer_norm.weight", "norm.scale", "d -> d"),
        Row("model.layer_norm.bias", "norm.bias", "d -> d"),
        Row("lm_head.weight", "head.table", "v d -> v d"),
    ),
    ignored=(r"model\.embed_positions\.weights",),  # a buffer that old checkpoints stored
    tied_copies=("lm_head.weight",),
)
