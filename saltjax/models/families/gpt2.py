"""GPT-2 (Radford et al. 2019): LayerNorm, learned positions, biases, weights stored as [in, out] (Conv1D)."""

from saltjax.models.families.family import Family, Read, Row
from saltjax.models.families.ropes import no_rope

GPT2 = Family(
    name="gpt2",
    model_types=("gpt2",),
    rename={
        "vocab_size": "vocab_size",
        "n_embd": "hidden_size",
        "n_layer": "layers",
        "n_head": "heads",
        "n_positions": "max_positions",
        "layer_norm_epsilon": "norm_eps",
        "tie_word_embeddings": "tie_embeddings",
    },
    require={
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
        "scale_attn_by_inverse_layer_idx": (False,),
        "reorder_and_upcast_attn": (False,),
        "add_cross_attention": (False,),
    },
    read={
        "kv_heads": Read(("n_head",), lambda heads: heads),
        "head_dim": Read(("n_embd", "n_head"), lambda hidden, heads: hidden // heads),
        "mlp_size": Read(("n_inner", "n_embd"), lambda inner, hidden: inner or 4 * hidden),
        "attention_scale": Read(("scale_attn_weights",), lambda scaled: None if scaled else 1.0),
    },
    fixed={
        "norm": "layer",
        "positions": "learned",
        "attention_bias": True,
        "activation": "gelu_tanh",
        "gated": False,
        "mlp_bias": True,
    },
    harmless=(
        *("resid_pdrop", "embd_pdrop", "attn_pdrop"),  # we train without dropout
        *("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout"),
    ),
    rope=no_rope,
    rows=(
        Row("wte.weight", "embed.table", "v d -> v d"),
        Row("wpe.weight", "positions.table", "p d -> p d"),
        Row("h.{}.ln_1.weight", "layers.attn_norm.scale", "d -> d"),
        Row("h.{}.ln_1.bias", "layers.attn_norm.bias", "d -> d"),
        Row("h.{}.attn.c_attn.weight", "layers.attn.q", "d +(h k) -> d h k"),
        Row("h.{}.attn.c_attn.weight", "layers.attn.k", "d +(h k) -> d h k"),
        Row("h.{}.attn.c_attn.weight", "layers.attn.v", "d +(h k) -> d h k"),
        Row("h.{}.attn.c_attn.bias", "layers.attn.q_bias", "+(h k) -> h k"),
        Row("h.{}.attn.c_attn.bias", "layers.attn.k_bias", "+(h k) -> h k"),
        Row("h.{}.attn.c_attn.bias", "layers.attn.v_bias", "+(h k) -> h k"),
        Row("h.{}.attn.c_proj.weight", "layers.attn.o", "(h k) d -> h k d"),
        Row("h.{}.attn.c_proj.bias", "layers.attn.o_bias", "d -> d"),
        Row("h.{}.ln_2.weight", "layers.mlp_norm.scale", "d -> d"),
        Row("h.{}.ln_2.bias", "layers.mlp_norm.bias", "d -> d"),
        Row("h.{}.mlp.c_fc.weight", "layers.mlp.up", "d f -> d f"),
        Row("h.{}.mlp.c_fc.bias", "layers.mlp.up_bias", "f -> f"),
        Row("h.{}.mlp.c_proj.weight", "layers.mlp.down", "f d -> f d"),
        Row("h.{}.mlp.c_proj.bias", "layers.mlp.down_bias", "d -> d"),
        Row("ln_f.weight", "norm.scale", "d -> d"),
        Row("ln_f.bias", "norm.bias", "d -> d"),
        Row("lm_head.weight", "head.table", "v d -> v d"),
    ),
    ignored=(r"h\.\d+\.attn\.(bias|masked_bias)",),  # the causal mask, which old checkpoints stored
    tied_copies=("lm_head.weight",),
    prefixes=("transformer.",),
)
