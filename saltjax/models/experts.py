"""A mixture of experts in place of the MLP (Shazeer et al. 2017; Mixtral, Jiang et al. 2024).

With p = softmax(router x) over all experts in float32 and K the `experts_per_token` largest:

    y = sum_{e in K} w_e down_e(act(gate_e x) * up_e x),    w_e = p_e, divided by sum_K p where `normalise_experts`

Every token gets all its experts: nothing is dropped and there is no capacity. Each expert is computed for every token
and weighted, by 0 where it was not chosen: one expert after the other, so that the memory is that of one MLP. This
is plain matrix products, which every backend has and every mesh shards as it shards the MLP, at experts /
experts_per_token times the arithmetic that is needed. `jax.lax.ragged_dot` would save that on accelerators, but it
wants all tokens of the mesh sorted by expert, and on CPUs it multiplies a masked copy of them for each expert. The
auxiliary loss that balances experts in pre-training is left out.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from saltjax.models.config import DecoderConfig
from saltjax.models.mlp import ACTIVATIONS
from saltjax.models.parameters import weight


class Experts(nnx.Module):
    def __init__(self, config: DecoderConfig):
        self.config = config
        d, f, e = config.hidden_size, config.mlp_size, config.experts
        self.router = weight(d, e)
        self.gate = weight(e, d, f)
        self.up = weight(e, d, f)
        self.down = weight(e, f, d)

    def shares(self, x: Float[Array, "b t d"]) -> Float[Array, "b t e"]:
        """The weight of each expert for each token: 0 for those that were not chosen."""
        config = self.config
        scores = (x @ self.router[...].astype(x.dtype)).astype(jnp.float32)
        best, chosen = jax.lax.top_k(jax.nn.softmax(scores, axis=-1), config.experts_per_token)
        if config.normalise_experts:
            best = best / best.sum(axis=-1, keepdims=True)
        return jnp.einsum("btk,btke->bte", best, jax.nn.one_hot(chosen, config.experts)).astype(x.dtype)

    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        act = ACTIVATIONS[self.config.activation]

        @partial(jax.checkpoint, prevent_cse=False)  # else the backward pass keeps what all experts computed inside
        def add(total: Array, expert: tuple[Any, ...]) -> tuple[Array, None]:
            gate, up, down, share = expert
            inner = act(x @ gate.astype(x.dtype)) * (x @ up.astype(x.dtype))
            return total + (inner @ down.astype(x.dtype)) * share[..., None], None

        shares = jnp.moveaxis(self.shares(x), -1, 0)
        total, _ = jax.lax.scan(add, jnp.zeros_like(x), (self.gate[...], self.up[...], self.down[...], shares))
        return total
