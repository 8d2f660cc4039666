"""What a decoder is: every number and switch that its computation depends on."""

from dataclasses import dataclass, replace

from saltjax.models.ropescaling import RopeScaling

SWITCHES = {
    "norm": ("rms", "layer"),
    "qk_norm": ("none", "head", "projection"),
    "activation": ("silu", "gelu", "gelu_tanh", "relu"),
    "positions": ("rope", "learned", "sinusoidal"),
}
ROPES = ("global", "local", "none")


@dataclass(frozen=True)
class DecoderConfig:
    """A decoder-only transformer. The defaults are Llama's: pre-norm blocks, grouped-query attention with RoPE, SwiGLU.

    `vocab_size` is the number of rows of the model's own table (the checkpoint's, so a tokenizer may be smaller);
    `vocab_rows >= vocab_size` is how many rows the arrays have here. The difference is zero rows that make the table
    divisible for a mesh: `decoder.logits` masks them and export strips them. 0 means no padding.

    `windows` and `ropes` say what differs from layer to layer, one entry a layer; () means the same for all.

    `family` names the table in `families/` that knows this model's tensor names. Frozen and hashable: a static
    argument under `jax.jit`.
    """

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_size: int  # of one expert where there are experts
    max_positions: int

    norm: str = "rms"
    norm_eps: float = 1e-6
    norm_offset: float = 0.0  # added to the stored scale: 1 in Gemma
    pre_norm: bool = True  # x + f(norm(x))
    post_norm: bool = False  # x + norm(f(x)); with both, x + norm(f(norm(x)))

    positions: str = "rope"
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    rope_fraction: float = 1.0  # of the head's dimensions are turned, the first ones
    local_rope_theta: float = 10000.0  # of `local` layers, which have no scaling
    ropes: tuple[str, ...] = ()  # global, local or none
    zero_position: int | None = None  # sinusoidal: this position's vector is 0

    windows: tuple[int, ...] = ()  # a token sees so many, itself included; 0 is all
    attention_bias: bool = False  # on all four projections
    qkv_bias: bool = False  # on query, key and value alone
    qk_norm: str = "none"  # over each head, or over all heads together
    attention_scale: float | None = None  # of the scores; None is head_dim^-1/2
    attention_softcap: float | None = None  # c: scores become c tanh(score / c)

    activation: str = "silu"
    gated: bool = True
    mlp_bias: bool = False
    experts: int = 0  # 0 is one MLP for all tokens
    experts_per_token: int = 0
    normalise_experts: bool = True  # the chosen experts' weights sum to 1

    embed_scale: float = 1.0  # multiplies the input embeddings
    logit_softcap: float | None = None
    tie_embeddings: bool = False
    vocab_rows: int = 0
    family: str = "llama"

    def __post_init__(self) -> None:
        if not self.vocab_rows:
            object.__setattr__(self, "vocab_rows", self.vocab_size)
        sizes = ("vocab_size", "hidden_size", "layers", "heads", "kv_heads", "head_dim", "mlp_size", "max_positions")
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least 1")
        for name, allowed in SWITCHES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, it must be one of {', '.join(allowed)}")
        for name in ("windows", "ropes"):
            if len(getattr(self, name)) not in (0, self.layers):
                raise ValueError(f"{name} has {len(getattr(self, name))} entries for {self.layers} layers")
        if unknown := set(self.ropes) - set(ROPES):
            raise ValueError(f"ropes has {', '.join(map(repr, sorted(unknown)))}, only {', '.join(ROPES)} are known")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) is not a multiple of kv_heads ({self.kv_heads})")
        if self.positions == "rope" and (self.rotary_dim % 2 or not 0 < self.rotary_dim <= self.head_dim):
            raise ValueError(
                f"head_dim ({self.head_dim}) times rope_fraction ({self.rope_fraction}) is {self.rotary_dim}; RoPE "
                "rotates pairs within a head"
            )
        factors = getattr(self.rope_scaling, "short_factor", None)
        if factors is not None and len(factors) != self.rotary_dim // 2:
            raise ValueError(f"short_factor has {len(factors)} numbers for {self.rotary_dim // 2} rotated pairs")
        if self.experts and not 0 < self.experts_per_token <= self.experts:
            raise ValueError(f"experts_per_token is {self.experts_per_token} of {self.experts} experts")
        if self.vocab_rows < self.vocab_size:
            raise ValueError(f"vocab_rows ({self.vocab_rows}) is smaller than vocab_size ({self.vocab_size})")

    @property
    def rotary_dim(self) -> int:
        """How many dimensions of a head are rotated."""
        return int(self.head_dim * self.rope_fraction)

    def padded(self, multiple: int) -> "DecoderConfig":
        """The same model with its vocabulary table padded to the next multiple (1: not padded)."""
        if multiple < 1:
            raise ValueError(f"pad_vocab_to is {multiple}, it must be at least 1")
        return replace(self, vocab_rows=-(-self.vocab_size // multiple) * multiple)
