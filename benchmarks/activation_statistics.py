"""The statistics of activations beside the plain forward pass: both on the same batches, turn by turn in one run.

    python benchmarks/activation_statistics.py                                   # the pocket LLM's shape
    python benchmarks/activation_statistics.py --hidden 1024 --mlp 2816 --layers 8 --heads 16 --rows 8 --length 512
    python benchmarks/activation_statistics.py --hidden 4096 --mlp 14336 --layers 32 --heads 32 --dtype bfloat16

The forward pass computes the final hidden states and no logits, which would only flatter the ratio. Statistics are
those of `saltjax neurons find`: counts above 0 and above 64 edges, sums, extremes. `with P90` adds the 90th percentile
of each batch (--method act-prob-90p), `with 7` seven of them (--percentiles batches). The ratio is throughput against
forward: of wall time, and of the CPU time of all threads, which other programs on the machine disturb less (CPUs only).
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from saltjax.models import DecoderConfig, hidden_states, random_model
from saltjax.neurons.collect import EDGES
from saltjax.neurons.counting import Sums, counted, quantiles
from saltjax.neurons.files import PERCENTS
from saltjax.train.mesh import batch_sharding, make_mesh
from saltjax.train.sharding import param_shardings

SEVEN = tuple(map(float, PERCENTS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"layers": 4, "hidden": 192, "mlp": 512, "heads": 6, "vocab": 4096, "rows": 16, "length": 256, "repeats": 7}
    for name, size in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--point", default="post")
    options = parser.parse_args()
    dtype, mesh = jnp.dtype(options.dtype), make_mesh()
    config = DecoderConfig(
        vocab_size=options.vocab, hidden_size=options.hidden, layers=options.layers, heads=options.heads,
        kv_heads=max(1, options.heads // 4), head_dim=options.hidden // options.heads, mlp_size=options.mlp,
        max_positions=options.length,
    )  # fmt: skip
    graphdef, params = (model := random_model(config, 0, partial(param_shardings, mesh=mesh))).graphdef, model.params
    params = jax.tree.map(lambda x: x.astype(dtype), params)
    rng = np.random.default_rng(0)
    batch = {
        "tokens": rng.integers(0, options.vocab, (options.rows, options.length)).astype(np.int32),
        "segments": np.ones((options.rows, options.length), np.int32),
        "positions": np.broadcast_to(np.arange(options.length, dtype=np.int32), (options.rows, options.length)),
    }
    placed: dict[str, Any] = {key: jax.device_put(rows, batch_sharding(mesh)) for key, rows in batch.items()}
    constrain = partial(jax.lax.with_sharding_constraint, shardings=batch_sharding(mesh))
    forward = jax.jit(partial(hidden_states, graphdef, dtype=dtype, constrain=constrain))
    spread = tuple(100 * (i + 0.5) / EDGES for i in range(EDGES))
    how = {"dtype": dtype, "point": options.point, "mesh": mesh}
    edges = np.asarray(quantiles(graphdef, params, **placed, percents=spread, **how), np.float32)
    thresholds = jax.device_put(np.concatenate([np.zeros_like(edges[:, :1]), edges], axis=1))

    def gathered(percents: tuple[float, ...]) -> Callable[[], Any]:
        zeros = jnp.zeros((options.layers, options.mlp))
        state = [
            Sums(jnp.zeros(thresholds.shape, jnp.int32), *(zeros + i for i in range(4)),
                 jnp.zeros((options.layers, len(percents), options.mlp)))
        ]  # fmt: skip

        def step() -> Any:
            state[0] = counted(
                graphdef, params, **placed, thresholds=thresholds, before=state[0], percents=percents, **how
            )
            return state[0]

        return step

    ways = {"forward": lambda: forward(params, **placed), "statistics": gathered(())}
    ways |= {"with P90": gathered((90.0,)), "with 7": gathered(SEVEN)}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        jax.block_until_ready(way())
    for _ in range(options.repeats):
        for name, way in ways.items():
            begin, process = time.perf_counter(), time.process_time()
            jax.block_until_ready(way())
            wall[name].append(time.perf_counter() - begin)
            cpu[name].append(time.process_time() - process)
    print(f"{'':12} {'median':>9}  {'tokens/s':>9}  of forward  of its CPU time")
    for name in ways:
        took, own = statistics.median(wall[name]), statistics.median(cpu[name])
        share, mine = statistics.median(wall["forward"]) / took, statistics.median(cpu["forward"]) / own
        print(f"{name:12} {took:7.3f} s  {options.rows * options.length / took:9.0f} {share:11.2f} {mine:15.2f}")


if __name__ == "__main__":
    main()
