"""The feed-forward half of a block. Sizes: b batch, t tokens, d hidden, f MLP."""

from collections.abc import Callable
from functools import partial

import jax
from flax import nnx
from jaxtyping import Array, Float

from saltjax.models.config import DecoderConfig
from saltjax.models.parameters import bias, plus, weight

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": jax.nn.silu,
    "gelu": partial(jax.nn.gelu, approximate=False),  # x Phi(x), by erf
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),  # Hendrycks & Gimpel 2016, section 2
    "relu": jax.nn.relu,
}


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

    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        act = ACTIVATIONS[self.activation]
        inner = plus(x @ self.up[...].astype(x.dtype), self.up_bias)
        gate = None if self.gate is None else plus(x @ self.gate[...].astype(x.dtype), self.gate_bias)
        inner = act(inner) if gate is None else act(gate) * inner
        return plus(inner @ self.down[...].astype(x.dtype), self.down_bias)
