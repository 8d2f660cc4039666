"""Mistral (Jiang et al. 2023): Llama with a sliding window. Mixtral (Jiang et al. 2024): Mistral with experts."""

from saltjax.models.families.family import Family, Row
from saltjax.models.families.parts import (
    ATTENTION,
    ENDS,
    GATED_MLP,
    HEAD_DIM,
    NO_DROPOUT,
    PRE_NORMS,
    SAME_WINDOW,
    SILU,
    SIZES,
    TIED_COPIES,
)

MISTRAL = Family(
    name="mistral",
    model_types=("mistral",),
    rename=SIZES,
    require={"hidden_act": SILU, "attention_dropout": NO_DROPOUT},
    read={"head_dim": HEAD_DIM, "windows": SAME_WINDOW},
    rows=(*ENDS, *PRE_NORMS, *ATTENTION, *GATED_MLP),
    tied_copies=TIED_COPIES,
)

MIXTRAL = Family(
    name="mixtral",
    model_types=("mixtral",),
    rename={**SIZES, "num_local_experts": "experts", "num_experts_per_tok": "experts_per_token"},
    require={"hidden_act": SILU, "attention_dropout": NO_DROPOUT, "router_jitter_noise": (0.0, None)},
    read={"head_dim": HEAD_DIM, "windows": SAME_WINDOW},
    harmless=("output_router_logits", "router_aux_loss_coef"),  # the balancing loss is left out
    rows=(
        *ENDS,
        *PRE_NORMS,
        *ATTENTION,
        Row("model.layers.{}.block_sparse_moe.gate.weight", "layers.moe.router", "e d -> d e"),
        Row("model.layers.{}.block_sparse_moe.experts.{}.w1.weight", "layers.moe.gate", "f d -> d f"),
        Row("model.layers.{}.block_sparse_moe.experts.{}.w3.weight", "layers.moe.up", "f d -> d f"),
        Row("model.layers.{}.block_sparse_moe.experts.{}.w2.weight", "layers.moe.down", "d f -> f d"),
    ),
    tied_copies=TIED_COPIES,
)
