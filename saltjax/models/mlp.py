"""The feed-forward half of a block. Sizes: b batch, t tokens, d hidden, f MLP."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Float

from saltjax.models.config import DecoderConfig
from saltjax.models.parameters import bias, plus, weight
from saltjax.models.product import product

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": jax.nn.silu,
    "gelu": partial(jax.nn.gelu, approximate=False),  # x Phi(x), by erf
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),  # Hendrycks & Gimpel 2016, section 2
    "relu": jax.nn.relu,
}


class Neurons(NamedTuple):
    """The f coordinates between up and down, at three points; `post` and `product` are the same without a gate."""

    pre: Float[Array, "b t f"]  # gate x, which the activation function takes
    post: Float[Array, "b t f"]  # act(gate x)
    product: Float[Array, "b t f"]  # act(gate x) * up x, which down takes


class Mlp(nnx.Module):
    """`gated`: down(act(gate x) * up x), SwiGLU and its relatives (Shazeer 2020); else down(act(up x))."""

    def __init__(self, config: DecoderConfig):
        d, f = config.hidden_size, config.mlp_size
        self.activation = config.activation
        self.gate = weight(d, f) if config.gated else None
        self.up = weight(d, f)
        self.down = weight(f, d)
        self.gate_bias = bias(config.gated and config.mlp_bias, f)
        self.up_bias = bias(config.mlp_bias, f)
        self.down_bias = bias(config.mlp_bias, d)

    def __call__(self, x: Float[Array, "b t d"]) -> tuple[Float[Array, "b t d"], Neurons]:
        act = ACTIVATIONS[self.activation]
        up = plus(product(x, self.up[...]), self.up_bias)
        pre = up if self.gate is None else plus(product(x, self.gate[...]), self.gate_bias)
        post = act(pre)
        # The backward pass computes it again from the two, which it needs anyhow, and keeps no step in between.
        inner = post if self.gate is None else jax.checkpoint(lambda pre, up: act(pre) * up)(pre, up)
        return plus(product(inner, self.down[...]), self.down_bias), Neurons(pre, post, inner)
