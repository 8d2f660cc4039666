"""A model as the training step needs it: two pure functions of the parameters."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from jaxtyping import Array, Float

from saltjax.models.decoder import Constrain, hidden_states, logits
from saltjax.models.model import Model
from saltjax.train.sharding import leaves
from saltjax.train.sweep import Stack, swept


class Forward(NamedTuple):
    """`hidden(params, tokens, positions, segments, constrain=...) -> [b, t, d]` in the compute dtype, where
    `constrain` pins the sharding of activations; `logits(params, hidden [..., d]) -> [..., v]` in float32, which may
    look at `embed` and `head` only. Padding rows of the vocabulary have no probability."""

    hidden: Callable[..., Float[Array, "b t d"]]
    logits: Callable[[dict, Array], Array]


def decoder_forward(
    model: Model, dtype: Any, remat: str = "none", *, unroll: bool = False, lora_scale: float = 1.0
) -> Forward:
    """A decoder of `saltjax.models` with compute dtype float32 or bfloat16. `hidden` also takes parameters with
    adapters (`lora.*`) or with `Stack`s among the layers."""

    def hidden(
        params: dict, tokens: Array, positions: Array, segments: Array, constrain: Constrain = lambda x: x
    ) -> Array:
        how: dict[str, Any] = {"remat": remat, "unroll": unroll, "constrain": constrain}
        inputs = (model.graphdef, params, tokens, positions, segments, dtype)
        if "lora" in params or any(isinstance(x, Stack) for _, x in leaves(params)):
            return swept(*inputs, **how, scale=lora_scale)
        return hidden_states(*inputs, **how)

    return Forward(hidden=hidden, logits=partial(logits, model.config))
