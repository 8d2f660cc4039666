"""Model flops: what a training step has to compute, whatever the program really does. The numerator of MFU.

A product of a token with a weight matrix is 2 flops a number of the matrix: forward 2, back to the token 2, to the
matrix 2. With N the numbers in matrices, the head among them and the embedding's lookup not (of a mixture of experts,
only those that a token passes), a token of a window of T tokens costs

    6 N + 12 L H T        H = heads x head_dim; of T keys each token sees all: causal masks are not counted as savings

which is the definition of PaLM (Chowdhery et al. 2022, arXiv 2204.02311, appendix B), also for what is recomputed
(remat costs nothing here) and for padding (it counts as tokens). A layer with a window w has min(w, T) for T.

Ours, for frozen parameters: a matrix that does not learn costs 4 (no gradient to it), and below the lowest layer that
learns 2 (nothing goes back there; the attention's 12 is 4). So full training costs 6 N, adapters little more than 4 N,
the last layer alone little more than 2 N.
"""

import math

from saltjax.models.config import DecoderConfig
from saltjax.train.elements import Elements
from saltjax.train.matrices import axes
from saltjax.train.sharding import leaves
from saltjax.train.trainable import Learns, Mask


def step_flops(config: DecoderConfig, params: dict, mask: Mask, batch_size: int, seq_len: int) -> float:
    """Flops of one step on `batch_size` windows of `seq_len` tokens. `params` may be abstract (shapes)."""
    return batch_size * seq_len * token_flops(config, params, mask, seq_len)


def token_flops(config: DecoderConfig, params: dict, mask: Mask, seq_len: int) -> float:
    """Flops of one token: 2 (forward + back to the token + to the matrices that learn), and the attention's."""
    shapes = {path: x.shape for path, x in leaves(params)}
    lowest = min((_lowest(path, learns, config.layers) for path, learns in mask.items()), default=config.layers + 1)
    back = max(config.layers - lowest, 0)  # layers that a gradient passes
    layers = {path: _used(path, config) * math.prod(shape) for path, shape in shapes.items() if _in_layers(path)}
    head, table = config.vocab_size * config.hidden_size, "embed.table" if config.tie_embeddings else "head.table"
    learning = sum(_share(mask[path], shapes[path]) * used for path, used in layers.items())
    learning += _share(mask[table], shapes[table]) * head
    per_layer = sum(layers.values()) / config.layers
    products = (config.layers + back) * per_layer + (2 if lowest <= config.layers else 1) * head + learning
    return 2 * products + sum(
        4 * (3 if layer >= lowest else 1) * config.heads * config.head_dim * min(window or seq_len, seq_len)
        for layer, window in enumerate(config.windows or (0,) * config.layers)
    )


def _in_layers(path: str) -> bool:
    """Whether it is a stack of matrices: linear maps, the experts' router, adapters."""
    return path.startswith("lora.") or path == "layers.moe.router" or axes(path) is not None


def _used(path: str, config: DecoderConfig) -> float:
    """The share of a stack that a token passes."""
    one_of_experts = path.startswith("layers.moe.") and path != "layers.moe.router"
    return config.experts_per_token / config.experts if one_of_experts else 1.0


def _share(learns: Learns, shape: tuple[int, ...]) -> float:
    """The share of a parameter that learns."""
    if isinstance(learns, Elements):
        return learns.number / math.prod(shape)
    return len(learns) / shape[0] if isinstance(learns, tuple) else float(learns)


def _lowest(path: str, learns: Learns, layers: int) -> int:
    """The lowest layer that a gradient has to pass for this parameter to learn: 0 for what is below the layers, their
    number for the last norm, one more for an untied head or for nothing."""
    if learns is False:
        return layers + 1
    if "layers." not in path:
        return {"head": layers + 1, "norm": layers}.get(path.partition(".")[0], 0)
    if isinstance(learns, Elements):
        first = learns.index[0]
        return 0 if isinstance(first, slice) else int(first.min())
    return min(learns) if isinstance(learns, tuple) else 0
