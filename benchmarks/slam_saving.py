"""What SLAM saves: its training step against full fine-tuning and LoRA, and its recipe against QAlign's two stages.

    python benchmarks/slam_saving.py                                     # 32 layers; some minutes on two cores
    python benchmarks/slam_saving.py --layers 8 --trained 2 --hidden 128 --length 32   # one minute
    python benchmarks/slam_saving.py --hidden 4096 --batch 4 --length 1024 compute_dtype=bfloat16   # a GPU of 141 GB

SLAM trains the up and down projections of the lowest layers (6 of 32). All steps are those of `saltjax finetune`, on
the same model and batch: float32 parameters and moments, AdamW, layers written out one after another, so that the
compiler's cost analysis counts every product (it counts the body of a loop once). Flops and peak memory are the
compiler's, times are measured in turns in one run. Ratios are what carries over; the shape is in proportion that of a
Llama-2 7B (MLP 2.7 d, vocabulary 7.8 d, 0.25 d tokens a window).

The recipes: QAlign trains all parameters on translated questions and then on English problems (MetaMathQA), 3 epochs
each; SLAM trains once, 4 epochs, on translated questions, and in its code on translated answers, too. What they cost is
tokens x epochs x a step's cost; `--questions`, `--answers` and `--problems` are millions of tokens, by default 66,000
questions (9 languages, about 190 tokens with their translations), as many answers (250), and 395,000 problems (300).
"""

import argparse
import statistics
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from saltjax.layers.choice import setting
from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import abstract_model
from saltjax.models.model import Model, random_model
from saltjax.train.config import AdaptConfig, read_config
from saltjax.train.flops import step_flops
from saltjax.train.forward import decoder_forward
from saltjax.train.lora import with_adapters
from saltjax.train.mesh import make_mesh
from saltjax.train.run import resolved
from saltjax.train.step import abstract_state, global_batch, make_step, start
from saltjax.train.trainable import count, trainable

EPOCHS_SLAM, EPOCHS_QALIGN = 4, 3
LLAMAS = {"7B": (4096, 11008, 32), "13B": (5120, 13824, 40)}


class Cost(NamedTuple):
    """Of a step. `state` are the bytes of parameters and moments, `peak` the most that lives at once."""

    share: float
    flops: float
    peak: int
    state: int
    program: Any


def llama(hidden: int, mlp: int, layers: int, vocabulary: int, positions: int) -> DecoderConfig:
    heads = max(1, hidden // 128)
    return DecoderConfig(
        vocab_size=vocabulary, hidden_size=hidden, layers=layers, heads=heads, kv_heads=heads, head_dim=hidden // heads,
        mlp_size=mlp, max_positions=positions,
    )  # fmt: skip


def cost(config: DecoderConfig, run: AdaptConfig, rows: dict[str, np.ndarray]) -> Cost:
    """Compiled from shapes alone."""
    model = Model(config, *abstract_model(config), {})
    base = with_adapters(model.params, run)
    mask, mesh = trainable(base, run.trainable), make_mesh(run.mesh)
    state = abstract_state(base, mask, run, mesh)
    forward = decoder_forward(model, jnp.dtype(run.compute_dtype), run.remat, unroll=True, lora_scale=run.lora.scale)
    shapes = {name: jax.ShapeDtypeStruct(row.shape, row.dtype) for name, row in rows.items()}
    program = make_step(forward, mask, run, mesh, state).lower(state, shapes).compile()
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    share = count(base, mask) / count(base, trainable(base, "full"))
    memory = program.memory_analysis()  # what comes out lies where the donated state came in
    peak = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    return Cost(share, program.cost_analysis()["flops"], peak, size, program)


def timed(config: DecoderConfig, costs: dict[str, Cost], runs: dict[str, AdaptConfig], rows: Any, rounds: int) -> dict:
    """Seconds of a step of each, by rounds; the first round is not counted."""
    states, batches = {}, {}
    for name, run in runs.items():
        mesh = make_mesh(run.mesh)
        base = with_adapters(random_model(config, 0).params, run)
        states[name] = start(base, trainable(base, run.trainable), run, mesh)
        batches[name] = global_batch(rows, mesh)
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name in runs:
            began = time.perf_counter()
            states[name], values = costs[name].program(states[name], batches[name])
            float(values["loss"])
            if number:
                found[name].append(time.perf_counter() - began)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--trained", type=int, default=6, help="of the lowest layers")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--questions", type=float, default=12.5, metavar="MILLIONS")
    parser.add_argument("--answers", type=float, default=16.5, metavar="MILLIONS")
    parser.add_argument("--problems", type=float, default=118.5, metavar="MILLIONS")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings of finetune, such as remat=block")
    args = parser.parse_intermixed_args()
    slam = setting(range(args.trained))
    shape = (args.batch, args.length)
    common = [f"batch_size={args.batch}", f"seq_len={args.length}", *args.settings]
    specs = {"full": "trainable=full", "LoRA": "trainable=lora", "SLAM": slam}
    runs = {name: resolved(read_config(None, [*common, spec])) for name, spec in specs.items()}
    config = llama(args.hidden, round(args.hidden * 2.6875), args.layers, round(args.hidden * 7.8125), args.length)
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, shape).astype(np.int32)
    positions = np.broadcast_to(np.arange(args.length, dtype=np.int32), shape)
    rows = {"tokens": tokens, "positions": positions, "segments": np.ones_like(tokens), "learns": np.ones_like(tokens)}

    costs = {name: cost(config, run, rows) for name, run in runs.items()}
    times = timed(config, costs, runs, rows, args.rounds)
    full = costs["full"]
    print(
        f"{args.layers} layers of width {args.hidden}, {shape[0]} x {shape[1]} tokens, {jax.devices()[0].device_kind}"
    )
    print(f"{'':8}{'learns':>8}{'flops':>8}{'memory':>8}{'state':>8}{'ms':>8}{'time':>8}   (of full)")
    ratio = {}
    for name, one in costs.items():
        ratio[name] = statistics.median(a / b for a, b in zip(times[name], times["full"], strict=True))
        ms = statistics.median(times[name]) * 1e3
        print(
            f"{name:8}{one.share:8.2%}{one.flops / full.flops:8.3f}{one.peak / full.peak:8.3f}"
            f"{one.state / full.state:8.3f}{ms:8.0f}{ratio[name]:8.3f}"
        )
    two = EPOCHS_QALIGN * (args.questions + args.problems)
    flops, clock = costs["SLAM"].flops / full.flops, ratio["SLAM"]
    for what, amount in (("questions", args.questions), ("questions and answers", args.questions + args.answers)):
        one = EPOCHS_SLAM * amount
        print(f"two stages / SLAM on {what}: {two / one / flops:.1f} in flops, {two / one / clock:.1f} in time")

    print(f"\nby shapes alone, 1,024 tokens a window, {args.trained} layers:")
    for name, (hidden, mlp, layers) in LLAMAS.items():
        params = abstract_model(big := llama(hidden, mlp, layers, 32000, 4096))[1]
        masks = {spec: trainable(params, spec.removeprefix("trainable=")) for spec in ("full", slam)}
        work = [step_flops(big, params, mask, 1, 1024) for mask in masks.values()]
        numbers = [count(params, mask) for mask in masks.values()]
        # float32: the parameters, and of what learns its gradient and AdamW's two moments
        gib = [4 * (numbers[0] + 3 * number) / 2**30 for number in numbers]
        print(
            f"Llama-2 {name}: learns {numbers[1] / numbers[0]:.2%}, model flops {work[1] / work[0]:.3f} of full, "
            f"parameters, gradient and moments {gib[1]:.0f} instead of {gib[0]:.0f} GiB"
        )


if __name__ == "__main__":
    main()
