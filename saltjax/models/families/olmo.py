"""OLMo 2 (Team OLMo 2024): norms after attention and MLP only, and one norm over all query (key) heads together."""

from saltjax.models.families.family import Family, Row
from saltjax.models.families.parts import (
    ATTENTION,
    BOTH_NORMS,
    ENDS,
    GATED_MLP,
    HEAD_DIM,
    NO_DROPOUT,
    SILU,
    SIZES,
    TIED_COPIES,
)

OLMO2 = Family(
    name="olmo2",
    model_types=("olmo2",),
    rename={**SIZES, "attention_bias": "attention_bias"},
    require={"hidden_act": SILU, "attention_dropout": NO_DROPOUT},
    read={"head_dim": HEAD_DIM},
    fixed={"pre_norm": False, "post_norm": True, "qk_norm": "projection"},
    rows=(
        *ENDS,
        *BOTH_NORMS,
        *ATTENTION,
        Row("model.layers.{}.self_attn.q_norm.weight", "layers.attn.q_norm.scale", "(h k) -> h k"),
        Row("model.layers.{}.self_attn.k_norm.weight", "layers.attn.k_norm.scale", "(h k) -> h k"),
        *GATED_MLP,
    ),
    tied_copies=TIED_COPIES,
)
