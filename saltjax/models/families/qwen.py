"""Qwen2 and 2.5 (biases on query, key and value), Qwen3 (a norm over each query and key head) and its experts."""

from saltjax.models.families.family import Family, Row
from saltjax.models.families.parts import (
    ATTENTION,
    ENDS,
    GATED_MLP,
    HEAD_DIM,
    HEAD_NORMS,
    NO_DROPOUT,
    PRE_NORMS,
    SAME_WINDOW,
    SILU,
    SIZES,
    TIED_COPIES,
    TYPED_WINDOWS,
)

COMMON = {"hidden_act": SILU, "attention_dropout": NO_DROPOUT}
# The class empties `sliding_window` where `use_sliding_window` is false, and says the rest in `layer_types`.
WINDOW_SWITCHES = ("use_sliding_window", "max_window_layers")

QWEN2 = Family(
    name="qwen2",
    model_types=("qwen2",),
    rename=SIZES,
    require=COMMON,
    read={"head_dim": HEAD_DIM, "windows": TYPED_WINDOWS},
    fixed={"qkv_bias": True},
    harmless=WINDOW_SWITCHES,
    rows=(*ENDS, *PRE_NORMS, *ATTENTION, *GATED_MLP),
    tied_copies=TIED_COPIES,
)

QWEN3 = Family(
    name="qwen3",
    model_types=("qwen3",),
    rename={**SIZES, "attention_bias": "attention_bias"},
    require=COMMON,
    read={"head_dim": HEAD_DIM, "windows": TYPED_WINDOWS},
    fixed={"qk_norm": "head"},
    harmless=WINDOW_SWITCHES,
    rows=(*ENDS, *PRE_NORMS, *ATTENTION, *HEAD_NORMS, *GATED_MLP),
    tied_copies=TIED_COPIES,
)


QWEN3_MOE = Family(
    name="qwen3_moe",
    model_types=("qwen3_moe",),
    rename={
        **{theirs: mine for theirs, mine in SIZES.items() if mine != "mlp_size"},
        "moe_intermediate_size": "mlp_size",
        "attention_bias": "attention_bias",
        "num_local_experts": "experts",  # which the class maps `num_experts` to
        "num_experts_per_tok": "experts_per_token",
        "norm_topk_prob": "normalise_experts",
    },
    require={**COMMON, "decoder_sparse_step": (1,), "mlp_only_layers": ([], None)},  # experts in every layer
    read={"head_dim": HEAD_DIM, "windows": SAME_WINDOW},
    fixed={"qk_norm": "head"},
    # `intermediate_size` is that of layers without experts; the balancing loss is left out.
    harmless=("use_sliding_window", "intermediate_size", "output_router_logits", "router_aux_loss_coef"),
    rows=(
        *ENDS,
        *PRE_NORMS,
        *ATTENTION,
        *HEAD_NORMS,
        Row("model.layers.{}.mlp.gate.weight", "layers.moe.router", "e d -> d e"),
        Row("model.layers.{}.mlp.experts.{}.gate_proj.weight", "layers.moe.gate", "f d -> d f"),
        Row("model.layers.{}.mlp.experts.{}.up_proj.weight", "layers.moe.up", "f d -> d f"),
        Row("model.layers.{}.mlp.experts.{}.down_proj.weight", "layers.moe.down", "d f -> f d"),
    ),
    tied_copies=TIED_COPIES,
)
