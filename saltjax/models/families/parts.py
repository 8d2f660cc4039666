"""What many families spell as Llama does: tensor rows, field names, and readings of windows and sizes."""

from collections.abc import Sequence

from saltjax.models.families.family import Read, Row

SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "intermediate_size": "mlp_size",
    "max_position_embeddings": "max_positions",
    "rms_norm_eps": "norm_eps",
    "tie_word_embeddings": "tie_embeddings",
}
SILU = ("silu", "swish")
NO_DROPOUT = (0.0, None)  # we train without dropout

ENDS = (
    Row("model.embed_tokens.weight", "embed.table", "v d -> v d"),
    Row("model.norm.weight", "norm.scale", "d -> d"),
    Row("lm_head.weight", "head.table", "v d -> v d"),
)
TIED_COPIES = ("lm_head.weight",)
PRE_NORMS = (
    Row("model.layers.{}.input_layernorm.weight", "layers.attn_norm.scale", "d -> d"),
    Row("model.layers.{}.post_attention_layernorm.weight", "layers.mlp_norm.scale", "d -> d"),
)
BOTH_NORMS = (
    Row("model.layers.{}.input_layernorm.weight", "layers.attn_norm.scale", "d -> d"),
    Row("model.layers.{}.post_attention_layernorm.weight", "layers.attn_post_norm.scale", "d -> d"),
    Row("model.layers.{}.pre_feedforward_layernorm.weight", "layers.mlp_norm.scale", "d -> d"),
    Row("model.layers.{}.post_feedforward_layernorm.weight", "layers.mlp_post_norm.scale", "d -> d"),
)
OUT = Row("model.layers.{}.self_attn.o_proj.weight", "layers.attn.o", "d (h k) -> h k d")
ATTENTION = (
    Row("model.layers.{}.self_attn.q_proj.weight", "layers.attn.q", "(h k) d -> d h k"),
    Row("model.layers.{}.self_attn.k_proj.weight", "layers.attn.k", "(h k) d -> d h k"),
    Row("model.layers.{}.self_attn.v_proj.weight", "layers.attn.v", "(h k) d -> d h k"),
    OUT,
    Row("model.layers.{}.self_attn.q_proj.bias", "layers.attn.q_bias", "(h k) -> h k"),
    Row("model.layers.{}.self_attn.k_proj.bias", "layers.attn.k_bias", "(h k) -> h k"),
    Row("model.layers.{}.self_attn.v_proj.bias", "layers.attn.v_bias", "(h k) -> h k"),
    Row("model.layers.{}.self_attn.o_proj.bias", "layers.attn.o_bias", "d -> d"),
)
HEAD_NORMS = (
    Row("model.layers.{}.self_attn.q_norm.weight", "layers.attn.q_norm.scale", "k -> k"),
    Row("model.layers.{}.self_attn.k_norm.weight", "layers.attn.k_norm.scale", "k -> k"),
)
DOWN = Row("model.layers.{}.mlp.down_proj.weight", "layers.mlp.down", "d f -> f d")
GATED_MLP = (
    Row("model.layers.{}.mlp.gate_proj.weight", "layers.mlp.gate", "f d -> d f"),
    Row("model.layers.{}.mlp.up_proj.weight", "layers.mlp.up", "f d -> d f"),
    DOWN,
    Row("model.layers.{}.mlp.gate_proj.bias", "layers.mlp.gate_bias", "f -> f"),
    Row("model.layers.{}.mlp.up_proj.bias", "layers.mlp.up_bias", "f -> f"),
    Row("model.layers.{}.mlp.down_proj.bias", "layers.mlp.down_bias", "d -> d"),
)


def _head_dim(given: int | None, hidden: int, heads: int) -> int:
    return given or hidden // heads


def _same_window(window: int | None, layers: int) -> tuple[int, ...]:
    return (window,) * layers if window else ()


def typed_windows(window: int | None, kinds: Sequence[str]) -> tuple[int, ...]:
    """The window of each layer by `layer_types`."""
    if unknown := set(kinds) - {"full_attention", "sliding_attention"}:
        raise ValueError(f"layer type {', '.join(sorted(unknown))}; only full_attention and sliding_attention")
    if "sliding_attention" not in kinds:
        return ()
    if not window:
        raise ValueError("sliding_attention needs a window")
    return tuple(window if kind == "sliding_attention" else 0 for kind in kinds)


# `head_dim` is looked for even where the class does not declare it: so does transformers.
HEAD_DIM = Read(("head_dim", "hidden_size", "num_attention_heads"), _head_dim)
SAME_WINDOW = Read(("sliding_window", "num_hidden_layers"), _same_window)
TYPED_WINDOWS = Read(("sliding_window", "layer_types"), typed_windows)
