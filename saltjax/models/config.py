"""What a decoder is: every number and switch that its computation depends on."""

from dataclasses import dataclass, replace

from saltjax.models.rope import RopeScaling


@dataclass(frozen=True)
class DecoderConfig:
    """A decoder-only transformer: pre-norm blocks, grouped-query attention with RoPE, gated MLP.

    `vocab_size` is the number of rows of the model's own table (the checkpoint's, so a tokenizer may be smaller);
    `vocab_rows >= vocab_size` is how many rows the arrays have here. The difference is zero rows that make the table
    divisible for a mesh: `decoder.logits` masks them and export strips them. 0 means no padding.

    `family` names the table in `families/` that knows this model's tensor names. Frozen and hashable: a static
    argument under `jax.jit`.
    """

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_size: int
    max_positions: int
    norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    tie_embeddings: bool = False
    attention_bias: bool = False  # on all four projections
    mlp_bias: bool = False
    vocab_rows: int = 0
    family: str = "llama"

    def __post_init__(self) -> None:
        if not self.vocab_rows:
            object.__setattr__(self, "vocab_rows", self.vocab_size)
        sizes = ("vocab_size", "hidden_size", "layers", "heads", "kv_heads", "head_dim", "mlp_size", "max_positions")
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least 1")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) is not a multiple of kv_heads ({self.kv_heads})")
        if self.head_dim % 2:
            raise ValueError(f"head_dim ({self.head_dim}) is odd; RoPE rotates pairs")
        if self.vocab_rows < self.vocab_size:
            raise ValueError(f"vocab_rows ({self.vocab_rows}) is smaller than vocab_size ({self.vocab_size})")

    def padded(self, multiple: int) -> "DecoderConfig":
        """The same model with its vocabulary table padded to the next multiple (1: not padded)."""
        if multiple < 1:
            raise ValueError(f"pad_vocab_to is {multiple}, it must be at least 1")
        return replace(self, vocab_rows=-(-self.vocab_size // multiple) * multiple)
