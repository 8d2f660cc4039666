"""Attention. Sizes: b batch, t queries, s keys, d hidden, h heads, kv key/value heads, k head_dim.

`Attention.project` gives queries, keys and values, `Attention.mix` the output. In between, keys and values may be
written into a cache and all of it be read, so s may differ from t.
"""

from flax import nnx
from jaxtyping import Array, Bool, Float

from saltjax.models.attend import attend
from saltjax.models.config import DecoderConfig
from saltjax.models.norms import Norm
from saltjax.models.parameters import bias, plus, weight
from saltjax.models.product import product
from saltjax.models.rope import Turn, rotate


class Attention(nnx.Module):
    def __init__(self, config: DecoderConfig):
        self.config = config
        d, h, kv, k = config.hidden_size, config.heads, config.kv_heads, config.head_dim
        biased = config.attention_bias or config.qkv_bias
        self.q = weight(d, h, k)
        self.k = weight(d, kv, k)
        self.v = weight(d, kv, k)
        self.o = weight(h, k, d)
        self.q_bias = bias(biased, h, k)
        self.k_bias = bias(biased, kv, k)
        self.v_bias = bias(biased, kv, k)
        self.o_bias = bias(config.attention_bias, d)
        shapes = {"none": None, "head": ((k,), (k,)), "projection": ((h, k), (kv, k))}[config.qk_norm]
        self.q_norm = Norm(config, *shapes[0]) if shapes else None
        self.k_norm = Norm(config, *shapes[1]) if shapes else None

    def project(
        self, x: Float[Array, "b t d"], turn: Turn | None
    ) -> tuple[Float[Array, "b t h k"], Float[Array, "b t kv k"], Float[Array, "b t kv k"]]:
        """Queries, keys and values of x, the first two normed and rotated where the model does so."""

        def heads(w: nnx.Param, b: nnx.Param | None, norm: Norm | None, turn: Turn | None) -> Array:
            y = plus(product(x, w[...]), b)
            y = y if norm is None else norm(y)
            return y if turn is None else rotate(y, turn)

        query = heads(self.q, self.q_bias, self.q_norm, turn)
        key = heads(self.k, self.k_bias, self.k_norm, turn)
        return query, key, heads(self.v, self.v_bias, None, None)

    def mix(
        self,
        query: Float[Array, "b t h k"],
        key: Float[Array, "b s kv k"],
        value: Float[Array, "b s kv k"],
        mask: Bool[Array, "b 1 t s"],
    ) -> Float[Array, "b t d"]:
        """What the queries find among the values, as it goes into the residual stream."""
        scale, softcap = self.config.attention_scale, self.config.attention_softcap
        mixed = attend(query, key, value, mask, scale=scale, softcap=softcap)
        return plus(product(mixed, self.o[...], inputs=2), self.o_bias)
