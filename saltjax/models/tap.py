"""A look at the neurons while the decoder runs: seen layer by layer, and only what is kept of them is stored."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float

from saltjax.errors import UserError
from saltjax.models.config import DecoderConfig


class Tap(NamedTuple):
    """`see(neurons [b, t, f], own) -> kept`, called in every layer at one `point` of the MLP (`mlp.Neurons`).

    `own` is the layer's slice of `data`, a pytree of arrays [L, ...]; what is kept, a pytree too, is stacked to
    [L, ...]. The neurons have the compute dtype.
    """

    point: str
    see: Callable[[Float[Array, "b t f"], Any], Any]
    data: Any = None


def check_has_neurons(config: DecoderConfig) -> None:
    """UserError for a mixture of experts. Ours: a neuron of an expert acts on the tokens that are sent to it alone, so
    that counts per token of the text would measure the router as much as the neuron."""
    if config.experts:
        raise UserError(
            f"the model has {config.experts} experts a layer; neurons are defined for models with one MLP a layer"
        )
