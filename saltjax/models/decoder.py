"""The decoder as pure functions over a plain nested dict of arrays.

NNX defines the modules; everything else is functional: `abstract_model` gives the static `graphdef` and the shapes,
and `hidden_states`, `output_table` and `logits` take the parameters as an argument, to be used under `jax.jit`,
`jax.grad` and any sharding. The blocks' parameters are stacked on a leading axis [L, ...] and scanned, so that the
time to compile does not depend on the depth. The tree (sharding
rules and checkpoints key on it), with what only some models have in brackets:

    embed.table [V, d]  [positions.table [P, d]]  norm.{scale [d], [bias]}  [head.table [V, d]]
    layers.attn.{q [L,d,h,k], k [L,d,kv,k], v [L,d,kv,k], o [L,h,k,d], [*_bias], [q_norm.scale, k_norm.scale]}
    layers.mlp.{[gate [L,d,f]], up [L,d,f], down [L,f,d], [*_bias]}
    [layers.moe.{router [L,d,E], gate [L,E,d,f], up [L,E,d,f], down [L,E,f,d]}] in place of the MLP
    layers.{[attn_norm], [attn_post_norm], [mlp_norm], [mlp_post_norm]}.{scale [L,d], [bias]}

What differs from layer to layer (its window, its kind of RoPE) is data that is scanned beside the parameters.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from saltjax.models.block import Block
from saltjax.models.config import DecoderConfig
from saltjax.models.layerwise import Layerwise, Own
from saltjax.models.mask import Places
from saltjax.models.norms import Norm
from saltjax.models.parameters import weight
from saltjax.models.positions import Positions, sinusoids
from saltjax.models.product import scores
from saltjax.models.tap import Tap, check_has_neurons

Params = dict[str, Any]
Constrain = Callable[[Array], Array]

MASKED = -1e30  # the logit of a padding row: its probability is exactly 0 and no infinity meets a gradient

_dots = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
REMAT: dict[str, Callable] = {
    "none": lambda body: body,  # keep every activation
    "block": partial(jax.checkpoint, prevent_cse=False),  # keep the blocks' inputs, compute the rest again
    "dots": partial(jax.checkpoint, prevent_cse=False, policy=_dots),  # keep also what the projections give
}


class Table(nnx.Module):
    """A vocabulary table [vocab_rows, d]."""

    def __init__(self, config: DecoderConfig):
        self.table = weight(config.vocab_rows, config.hidden_size)


class Decoder(nnx.Module):
    def __init__(self, config: DecoderConfig):
        self.config = config
        self.embed = Table(config)
        self.positions = Positions(config) if config.positions == "learned" else None
        self.layers = nnx.vmap(lambda _: Block(config), in_axes=0, out_axes=0)(jnp.arange(config.layers))
        self.norm = Norm(config, config.hidden_size)
        self.head = None if config.tie_embeddings else Table(config)

    def embedded(self, tokens: Int[Array, "b t"], positions: Int[Array, "b t"], dtype: Any) -> Float[Array, "b t d"]:
        """What enters the first block. An id outside the table gives NaN, not somebody else's row."""
        x = self.embed.table[...].at[tokens].get(mode="fill", fill_value=jnp.nan).astype(dtype)
        if self.config.embed_scale != 1.0:
            x = x * jnp.asarray(self.config.embed_scale, dtype)  # rounded to it first, as Gemma was trained
        if self.positions is not None:
            x = x + self.positions(positions).astype(dtype)
        if self.config.positions == "sinusoidal":
            x = x + sinusoids(self.config, positions).astype(dtype)
        return x

    def __call__(
        self,
        tokens: Int[Array, "b t"],
        positions: Int[Array, "b t"],
        segments: Int[Array, "b t"],
        dtype: Any,
        remat: str,
        unroll: bool,
        constrain: Constrain,
        tap: Tap | None = None,
    ) -> tuple[Float[Array, "b t d"], Any]:
        places = Places(positions, segments)
        layerwise = Layerwise(self.config, places, places)
        graphdef, stacked = nnx.split(self.layers)

        def body(x: Array, scanned: tuple[Any, Own, Any]) -> tuple[Array, Any]:
            layer, own, data = scanned
            x, neurons = nnx.merge(graphdef, layer).watched(x, layerwise.turn(own), layerwise.mask(own))
            return constrain(x), None if tap is None else tap.see(getattr(neurons, tap.point), data)

        x = constrain(self.embedded(tokens, positions, dtype))
        each = (stacked, layerwise.own, tap.data if tap else None)
        with jax.named_scope("layers"):  # the loop's name in profiles and in the compiled program
            x, kept = jax.lax.scan(REMAT[remat](body), x, each, unroll=unroll)
        return self.norm(x), kept


def abstract_model(config: DecoderConfig, dtype: Any = jnp.float32) -> tuple[nnx.GraphDef, Params]:
    """The static graph (hashable) and the parameter tree as `jax.ShapeDtypeStruct`s of `dtype`; no memory is used."""
    graphdef, state = nnx.split(nnx.eval_shape(lambda: Decoder(config)))
    shapes = nnx.to_pure_dict(state)
    return graphdef, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), shapes)


def matmul_precision(dtype: Any):
    """float32 means float32: accelerators would multiply in TF32 or bfloat16 by default."""
    return jax.default_matmul_precision("highest" if jnp.dtype(dtype) == jnp.float32 else "default")


def hidden_states(
    graphdef: nnx.GraphDef,
    params: Params,
    tokens: Int[Array, "b t"],
    positions: Int[Array, "b t"],
    segments: Int[Array, "b t"],
    dtype: Any = jnp.float32,
    *,
    remat: str = "none",
    unroll: bool = False,
    constrain: Constrain | None = None,
) -> Float[Array, "b t d"]:
    """The final normed hidden states, in `dtype` (the compute dtype: float32 or bfloat16).

    A token attends to itself and to the tokens of its own segment that have smaller positions, in its layer's window.
    `segments` are 1, 2, ... for packed pieces and 0 for padding (whose hidden states mean nothing); `positions` count
    within a piece. `remat` says what the backward pass keeps: none (everything), block (the blocks' inputs) or dots
    (and the projections' results). `unroll` writes the layers out instead of scanning them: longer to compile, with
    more for XLA to fuse and overlap.

    `constrain` is applied to the activations [b, t, d] after the embedding and after every block: on a mesh
    `lambda x: jax.lax.with_sharding_constraint(x, sharding)`, else XLA may replicate them or cut them along d. A table
    that is split along d too has to be gathered along it by the caller, or the lookup is done on every device.
    """
    if remat not in REMAT:
        raise ValueError(f"remat is {remat!r}, it must be one of {', '.join(REMAT)}")
    with matmul_precision(dtype):
        return nnx.merge(graphdef, params)(
            tokens, positions, segments, dtype, remat, unroll, constrain or (lambda x: x)
        )[0]  # fmt: skip


def tapped(
    graphdef: nnx.GraphDef,
    params: Params,
    tokens: Int[Array, "b t"],
    positions: Int[Array, "b t"],
    segments: Int[Array, "b t"],
    dtype: Any,
    tap: Tap,
    *,
    constrain: Constrain | None = None,
) -> tuple[Float[Array, "b t d"], Any]:
    """`hidden_states`, and what the tap keeps of every layer. UserError for a mixture of experts."""
    with matmul_precision(dtype):
        model = nnx.merge(graphdef, params)
        check_has_neurons(model.config)
        return model(tokens, positions, segments, dtype, "none", False, constrain or (lambda x: x), tap)


def output_table(config: DecoderConfig, params: Params) -> Float[Array, "v d"]:
    """The table of the output layer: the embedding itself when tied."""
    return params["embed" if config.tie_embeddings else "head"]["table"]


def logits(config: DecoderConfig, params: Params, hidden: Float[Array, "*n d"]) -> Float[Array, "*n v"]:
    """hidden @ table^T in float32, capped where the model does so, over all `vocab_rows`; padding rows' are `MASKED`.

    Works on any slice of the hidden states, so a loss may go through them in chunks.
    """
    found = scores(hidden, output_table(config, params))
    if config.logit_softcap is not None:
        found = config.logit_softcap * jnp.tanh(found / config.logit_softcap)
    if config.vocab_rows == config.vocab_size:
        return found
    return jnp.where(jnp.arange(config.vocab_rows) < config.vocab_size, found, MASKED)
