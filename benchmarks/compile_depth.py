"""The time to compile a train step against the depth of the model: scanned layers, and unrolled ones for comparison.

    python benchmarks/compile_depth.py                      # 2 and 32 layers of d 2048 on one device
    python benchmarks/compile_depth.py --layers 2 80 --unroll

Only shapes are compiled: no parameter exists. The step is that of `adapt` (AdamW, clipping, remat `dots`, bfloat16).
"""

import argparse
import time
from functools import partial

import jax
import jax.numpy as jnp

from saltjax.models import DecoderConfig, abstract_model, hidden_states, logits
from saltjax.train.config import AdaptConfig, MeshConfig
from saltjax.train.forward import Forward
from saltjax.train.mesh import make_mesh
from saltjax.train.step import abstract_state, make_step
from saltjax.train.trainable import trainable

SIZES = {"vocab_size": 32000, "hidden_size": 2048, "heads": 16, "kv_heads": 4, "head_dim": 128, "max_positions": 4096}


def config(kind: str, layers: int) -> DecoderConfig:
    """Llama; Gemma 3, whose layers differ; a mixture of experts."""
    if kind == "llama":
        return DecoderConfig(**SIZES, layers=layers, mlp_size=8192)
    if kind == "experts":
        return DecoderConfig(**SIZES, layers=layers, mlp_size=2048, qk_norm="head", experts=8, experts_per_token=2)
    full = [layer % 6 == 5 for layer in range(layers)]
    return DecoderConfig(
        **SIZES, layers=layers, mlp_size=8192, norm_offset=1.0, post_norm=True, qk_norm="head", activation="gelu_tanh",
        windows=tuple(0 if all_of_it else 512 for all_of_it in full),
        ropes=tuple("global" if all_of_it else "local" for all_of_it in full),
    )  # fmt: skip


def seconds(decoder: DecoderConfig, unroll: bool) -> float:
    """To trace, lower and compile one step of a batch of 4 x 1024 tokens."""
    graphdef, params = abstract_model(decoder)
    mask, settings, mesh = trainable(params, "full"), AdaptConfig(), make_mesh(MeshConfig(1, 1, 1))
    hidden = partial(hidden_states, graphdef, dtype=jnp.bfloat16, remat="dots", unroll=unroll)
    state = abstract_state(params, mask, settings, mesh)
    step = make_step(Forward(hidden, partial(logits, decoder)), mask, settings, mesh, state)
    batch = {key: jax.ShapeDtypeStruct((4, 1024), jnp.int32) for key in ("tokens", "positions", "segments")}
    start = time.perf_counter()
    step.lower(state, batch).compile()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs=2, default=[2, 32], metavar=("FEW", "MANY"))
    parser.add_argument("--unroll", action="store_true", help="compile the unrolled layers too")
    options = parser.parse_args()
    few, many = options.layers
    print(f"{'model':10} {'layers':10} {few:>4} layers {many:>4} layers  ratio")
    for kind in ("llama", "gemma3", "experts"):
        for unroll in (False, True)[: 1 + options.unroll]:
            a, b = seconds(config(kind, few), unroll), seconds(config(kind, many), unroll)
            print(f"{kind:10} {'unrolled' if unroll else 'scanned':10} {a:9.1f} s {b:9.1f} s  {b / a:5.2f}", flush=True)


if __name__ == "__main__":
    main()
