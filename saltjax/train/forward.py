"""A model as the training step needs it: two pure functions of the parameters."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from jaxtyping import Array, Float

from saltjax.models.decoder import hidden_states, logits
from saltjax.models.model import Model


class Forward(NamedTuple):
    """`hidden(params, tokens, positions, segments, constrain=...) -> [b, t, d]` in the compute dtype, where
    `constrain` pins the sharding of activations; `logits(params, hidden [..., d]) -> [..., v]` in float32, which may
    look at `embed` and `head` only. Padding rows of the vocabulary have no probability."""

    hidden: Callable[..., Float[Array, "b t d"]]
    logits: Callable[[dict, Array], Array]


def decoder_forward(model: Model, dtype: Any, remat: str = "none") -> Forward:
    """A decoder of `saltjax.models` with compute dtype float32 or bfloat16."""
    return Forward(
        hidden=partial(hidden_states, model.graphdef, dtype=dtype, remat=remat), logits=partial(logits, model.config)
    )
