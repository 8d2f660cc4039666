"""Llama 1, 2 and 3.x (Touvron et al. 2023; Grattafiori et al. 2024), and what shares `model_type: llama`."""

from saltjax.models.families.family import Family
from saltjax.models.families.parts import (
    ATTENTION,
    ENDS,
    GATED_MLP,
    HEAD_DIM,
    NO_DROPOUT,
    PRE_NORMS,
    SILU,
    SIZES,
    TIED_COPIES,
)

LLAMA = Family(
    name="llama",
    model_types=("llama",),
    rename={**SIZES, "attention_bias": "attention_bias", "mlp_bias": "mlp_bias"},
    require={"hidden_act": SILU, "pretraining_tp": (1, None), "attention_dropout": NO_DROPOUT},
    read={"head_dim": HEAD_DIM},
    rows=(*ENDS, *PRE_NORMS, *ATTENTION, *GATED_MLP),
    ignored=(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),  # a buffer that old checkpoints stored
    tied_copies=TIED_COPIES,
)
