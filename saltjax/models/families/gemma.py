"""Gemma 1 (Gemma Team 2024a), Gemma 2 (2024b) and the text models of Gemma 3 (2025).

All multiply the input embeddings by sqrt(d), store norms as scale - 1 and use a tanh-GELU in the gated MLP. Gemma 2
adds norms after attention and MLP, soft caps and a window in every other layer; Gemma 3 has norms over query and key
heads in place of the cap on the scores, a window in five of six layers and a smaller RoPE base there.
"""

from collections.abc import Sequence

from saltjax.models.families.family import Family, Read
from saltjax.models.families.parts import (
    ATTENTION,
    BOTH_NORMS,
    ENDS,
    GATED_MLP,
    HEAD_DIM,
    HEAD_NORMS,
    NO_DROPOUT,
    PRE_NORMS,
    SIZES,
    TIED_COPIES,
    TYPED_WINDOWS,
)
from saltjax.models.families.ropes import two_ropes

ACTIVATION = ("gelu_pytorch_tanh",)
CAUSAL = {"use_bidirectional_attention": (None, False), "attention_dropout": NO_DROPOUT}
FIXED = {"norm_offset": 1.0, "activation": "gelu_tanh"}
EMBED_SCALE = Read(("hidden_size",), lambda hidden: hidden**0.5)
ATTENTION_SCALE = Read(("query_pre_attn_scalar",), lambda scalar: scalar**-0.5)

GEMMA = Family(
    name="gemma",
    model_types=("gemma",),
    rename={**SIZES, "attention_bias": "attention_bias"},
    require={**CAUSAL, "hidden_act": ACTIVATION},
    read={"head_dim": HEAD_DIM, "embed_scale": EMBED_SCALE},
    fixed=FIXED,
    rows=(*ENDS, *PRE_NORMS, *ATTENTION, *GATED_MLP),
    tied_copies=TIED_COPIES,
)

GEMMA2 = Family(
    name="gemma2",
    model_types=("gemma2",),
    rename={
        **SIZES,
        "attention_bias": "attention_bias",
        "attn_logit_softcapping": "attention_softcap",
        "final_logit_softcapping": "logit_softcap",
    },
    require={**CAUSAL, "hidden_activation": ACTIVATION},
    read={
        "head_dim": HEAD_DIM,
        "embed_scale": EMBED_SCALE,
        "attention_scale": ATTENTION_SCALE,
        "windows": TYPED_WINDOWS,
    },
    fixed={**FIXED, "post_norm": True},
    rows=(*ENDS, *BOTH_NORMS, *ATTENTION, *GATED_MLP),
    tied_copies=TIED_COPIES,
)


def _local_where_sliding(kinds: Sequence[str]) -> tuple[str, ...]:
    return tuple("local" if kind == "sliding_attention" else "global" for kind in kinds)


GEMMA3 = Family(
    name="gemma3",
    model_types=("gemma3_text",),
    rename={**SIZES, "attention_bias": "attention_bias", "final_logit_softcapping": "logit_softcap"},
    # transformers reads the cap on the scores and does not apply it.
    require={**CAUSAL, "hidden_activation": ACTIVATION, "attn_logit_softcapping": (None,)},
    read={
        "head_dim": HEAD_DIM,
        "embed_scale": EMBED_SCALE,
        "attention_scale": ATTENTION_SCALE,
        "windows": TYPED_WINDOWS,
        "ropes": Read(("layer_types",), _local_where_sliding),
    },
    fixed={**FIXED, "post_norm": True, "qk_norm": "head"},
    harmless=("_sliding_window_pattern",),  # the class spells it out in `layer_types`
    rope=two_ropes,
    rows=(*ENDS, *BOTH_NORMS, *ATTENTION, *HEAD_NORMS, *GATED_MLP),
    tied_copies=TIED_COPIES,
)
