"""One transformer block: attention and a feed-forward part, each with a norm before it, after it, or both."""

from flax import nnx
from jaxtyping import Array, Bool, Float

from saltjax.models.attention import Attention
from saltjax.models.config import DecoderConfig
from saltjax.models.experts import Experts
from saltjax.models.mlp import Mlp, Neurons
from saltjax.models.norms import Norm
from saltjax.models.rope import Turn


class Block(nnx.Module):
    """x + post(attention(pre(x))), then x + post(mlp(pre(x))); pre and post are norms or nothing."""

    def __init__(self, config: DecoderConfig):
        d, self.mixed = config.hidden_size, config.experts > 0
        self.attn_norm = Norm(config, d) if config.pre_norm else None
        self.attn = Attention(config)
        self.attn_post_norm = Norm(config, d) if config.post_norm else None
        self.mlp_norm = Norm(config, d) if config.pre_norm else None
        if self.mixed:
            self.moe = Experts(config)
        else:
            self.mlp = Mlp(config)
        self.mlp_post_norm = Norm(config, d) if config.post_norm else None

    def __call__(
        self, x: Float[Array, "b t d"], turn: Turn | None, mask: Bool[Array, "b 1 t t"]
    ) -> Float[Array, "b t d"]:
        return self.watched(x, turn, mask)[0]

    def watched(
        self, x: Float[Array, "b t d"], turn: Turn | None, mask: Bool[Array, "b 1 t t"]
    ) -> tuple[Float[Array, "b t d"], Neurons | None]:
        """The block's output, and its neurons; None where experts are in the MLP's place."""
        return self._finish(x, *self.project(x, turn), mask)

    def project(
        self, x: Float[Array, "b t d"], turn: Turn | None
    ) -> tuple[Float[Array, "b t h k"], Float[Array, "b t kv k"], Float[Array, "b t kv k"]]:
        """Queries, keys and values."""
        return self.attn.project(_normed(self.attn_norm, x), turn)

    def finish(
        self,
        x: Float[Array, "b t d"],
        query: Float[Array, "b t h k"],
        key: Float[Array, "b s kv k"],
        value: Float[Array, "b s kv k"],
        mask: Bool[Array, "b 1 t s"],
    ) -> Float[Array, "b t d"]:
        """The block's output; `key` and `value` are those of x itself, or a cache that has them too."""
        return self._finish(x, query, key, value, mask)[0]

    def _finish(
        self, x: Array, query: Array, key: Array, value: Array, mask: Array
    ) -> tuple[Float[Array, "b t d"], Neurons | None]:
        x = x + _normed(self.attn_post_norm, self.attn.mix(query, key, value, mask))
        inner = _normed(self.mlp_norm, x)
        y, neurons = (self.moe(inner), None) if self.mixed else self.mlp(inner)
        return x + _normed(self.mlp_post_norm, y), neurons


def _normed(norm: Norm | None, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
    return x if norm is None else norm(x)
