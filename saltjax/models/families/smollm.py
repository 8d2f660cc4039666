"""SmolLM3 (Hugging Face 2025): Llama with some layers that have no positions at all (NoPE, Yang et al. 2025)."""

from collections.abc import Sequence

from saltjax.models.families.family import Family, Read
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
    typed_windows,
)


def _windows(used: bool, window: int | None, kinds: Sequence[str]) -> tuple[int, ...]:
    if "sliding_attention" in kinds and not used:
        raise ValueError("sliding_attention only with use_sliding_window")
    return typed_windows(window, kinds)


def _ropes(turned: Sequence[int], layers: int) -> tuple[str, ...]:
    return tuple("global" if flag else "none" for flag in turned[:layers])


SMOLLM3 = Family(
    name="smollm3",
    model_types=("smollm3",),
    rename={**SIZES, "attention_bias": "attention_bias", "mlp_bias": "mlp_bias"},
    require={"hidden_act": SILU, "attention_dropout": NO_DROPOUT},
    read={
        "head_dim": HEAD_DIM,
        "windows": Read(("use_sliding_window", "sliding_window", "layer_types"), _windows),
        "ropes": Read(("no_rope_layers", "num_hidden_layers"), _ropes),
    },
    harmless=("no_rope_layer_interval",),  # the class spells it out in `no_rope_layers`
    rows=(*ENDS, *PRE_NORMS, *ATTENTION, *GATED_MLP),
    tied_copies=TIED_COPIES,
)
