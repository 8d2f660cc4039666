"""Phi-3 (Abdin et al. 2024): Llama with fused tensors, LongRoPE or RoPE over a part of the head in some."""

from saltjax.models.families.family import Family, Row
from saltjax.models.families.parts import (
    DOWN,
    ENDS,
    HEAD_DIM,
    NO_DROPOUT,
    OUT,
    PRE_NORMS,
    SAME_WINDOW,
    SILU,
    SIZES,
    TIED_COPIES,
)
from saltjax.models.families.ropes import short_rope

PHI3 = Family(
    name="phi3",
    model_types=("phi3",),
    rename=SIZES,
    require={
        "hidden_act": SILU,
        "attention_dropout": NO_DROPOUT,
        "resid_pdrop": NO_DROPOUT,
        "embd_pdrop": NO_DROPOUT,
    },
    read={"head_dim": HEAD_DIM, "windows": SAME_WINDOW},
    harmless=("original_max_position_embeddings",),  # the class copies it into `rope_parameters`
    rope=short_rope,
    rows=(
        *ENDS,
        *PRE_NORMS,
        Row("model.layers.{}.self_attn.qkv_proj.weight", "layers.attn.q", "+(h k) d -> d h k"),
        Row("model.layers.{}.self_attn.qkv_proj.weight", "layers.attn.k", "+(h k) d -> d h k"),
        Row("model.layers.{}.self_attn.qkv_proj.weight", "layers.attn.v", "+(h k) d -> d h k"),
        OUT,
        Row("model.layers.{}.mlp.gate_up_proj.weight", "layers.mlp.gate", "+f d -> d f"),
        Row("model.layers.{}.mlp.gate_up_proj.weight", "layers.mlp.up", "+f d -> d f"),
        DOWN,
    ),
    tied_copies=TIED_COPIES,
)
