"""The train step of `saltjax adapt` against a plain PyTorch loop: same Llama, batch and machine, in turns in one run.

    pip install 'saltjax[torch]'
    python benchmarks/train_step.py                                            # a small Llama, 2.4 million parameters
    python benchmarks/train_step.py --model DIR --batch 16 --length 128 unroll=true
    python benchmarks/train_step.py --shape 1b --batch 8 --length 2048 remat=block   # on an accelerator, bfloat16
    python benchmarks/train_step.py --rival none --shape 1b ...                # where there is no torch

Both train all parameters with AdamW (float32 parameters and moments, clipped to 1) on full windows of random tokens:
ours as `adapt` does it, packed windows and all; the rival is transformers' LlamaForCausalLM with SDPA attention, its
own loss, torch.optim.AdamW (fused on an accelerator), float32 on a CPU and bfloat16 autocast on an accelerator. Each
has a process of its own (with large pages where Linux gives them); rounds take turns. On a busy machine the CPU seconds
say more than the clock. MFU as in `saltjax.train.flops`, against `saltjax.train.chips`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from saltjax.cli.pages import large_pages
from saltjax.hub.config import read_config as read_model_config
from saltjax.models.families import family_of
from saltjax.models.model import random_model
from saltjax.train.chips import chip
from saltjax.train.config import read_config
from saltjax.train.flops import step_flops
from saltjax.train.forward import decoder_forward
from saltjax.train.mesh import make_mesh
from saltjax.train.run import resolved
from saltjax.train.sharding import param_shardings
from saltjax.train.step import global_batch, make_step, start
from saltjax.train.trainable import trainable

LLAMA = {"model_type": "llama", "max_position_embeddings": 8192, "rms_norm_eps": 1e-6}
SHAPES: dict[str, dict[str, Any]] = {
    "pocket": LLAMA | {
        "vocab_size": 4096, "hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 6,
        "num_key_value_heads": 2, "head_dim": 32, "intermediate_size": 512, "tie_word_embeddings": True,
    },
    "small": LLAMA | {
        "vocab_size": 8192, "hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 64, "intermediate_size": 1408, "tie_word_embeddings": True,
    },
    "1b": LLAMA | {
        "vocab_size": 32000, "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 8192, "tie_word_embeddings": True,
    },
}  # fmt: skip
Step = Callable[[], float]


def ours(directory: Path, tokens: np.ndarray, overrides: list[str]) -> tuple[Step, dict[str, Any]]:
    """A step that returns its loss, and what is known of it."""
    rows, length = tokens.shape
    settings = resolved(read_config(None, [f"batch_size={rows}", f"seq_len={length}", *overrides]))
    mesh = make_mesh(settings.mesh)
    config = family_of(hf := read_model_config(directory)).decoder_config(hf)
    model = random_model(config, 0, lambda params: param_shardings(params, mesh), pad_vocab_to=128)
    mask = trainable(model.params, settings.trainable)
    dtype = jnp.dtype(settings.compute_dtype)
    forward = decoder_forward(model, dtype, settings.remat, unroll=settings.unroll)
    flops = step_flops(config, model.params, mask, rows, length)
    state = start(model.params, mask, settings, mesh)
    positions = np.broadcast_to(np.arange(length, dtype=np.int32), tokens.shape)
    host = {"tokens": tokens, "positions": positions, "segments": np.ones_like(tokens)}
    batch = global_batch(host, mesh)
    began = time.perf_counter()
    program = make_step(forward, mask, settings, mesh, state).lower(state, batch).compile()
    facts = {"compile_seconds": time.perf_counter() - began, "flops": flops, "devices": mesh.size, "dtype": dtype.name}
    device = jax.devices()[0]
    known = chip(device)
    facts |= {"device": device.device_kind, "peak": known.flops if known else None}
    facts |= {"temporaries": program.memory_analysis().temp_size_in_bytes}
    held = [state]

    def step() -> float:
        held[0], values = program(held[0], batch)
        return float(values["loss"])

    return step, facts


def theirs(directory: Path, tokens: np.ndarray) -> tuple[Step, dict[str, Any]]:
    import torch
    from transformers import AutoConfig, LlamaForCausalLM

    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    torch.manual_seed(0)
    model = LlamaForCausalLM(AutoConfig.from_pretrained(directory)).to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.01, fused=True if cuda else None
    )
    batch = torch.tensor(tokens, dtype=torch.long, device=device)

    def step() -> float:
        with torch.autocast(device, torch.bfloat16, enabled=cuda):
            loss = model(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step, {"device": device, "threads": torch.get_num_threads(), "torch": torch.__version__}


class Time(NamedTuple):
    """Of one step: by the clock, and of all cores."""

    clock: float
    cpu: float


def work(name: str, model: Path, args: argparse.Namespace) -> None:
    """A contender's process: says what it is, and then the time of its steps as often as it is asked for."""
    vocabulary = read_model_config(model).vocab_size
    tokens = np.random.default_rng(0).integers(0, vocabulary, (args.batch, args.length)).astype(np.int32)
    step, facts = ours(model, tokens, args.settings) if name == "saltjax" else theirs(model, tokens)
    print(json.dumps(facts | {"losses": [step(), step()]}), flush=True)
    for line in sys.stdin:
        step()  # after a pause: some virtual machines give memory that was freed back to their host
        clock, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            step()
        print(json.dumps([time.perf_counter() - clock, time.process_time() - cpu]), flush=True)


class Contender:
    def __init__(self, name: str, model: Path):
        command = [sys.executable, *sys.orig_argv[1:], "--as", name, "--model", str(model)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts = self._said()
        self.times: list[Time] = []

    def _said(self) -> Any:
        assert self.process.stdout
        if not (line := self.process.stdout.readline()):
            raise SystemExit(f"{' '.join(map(str, self.process.args))} failed")
        return json.loads(line)

    def round(self, steps: int) -> None:
        assert self.process.stdin
        print(steps, file=self.process.stdin, flush=True)
        self.times.append(Time(*(seconds / steps for seconds in self._said())))

    def middle(self) -> Time:
        return Time(
            statistics.median(one.clock for one in self.times), statistics.median(one.cpu for one in self.times)
        )


def main() -> None:
    large_pages()  # as `saltjax adapt` does, for PyTorch too
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a directory with the config.json of a Llama")
    parser.add_argument("--shape", choices=list(SHAPES), default="pocket")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="steps a round")
    parser.add_argument("--rival", choices=("torch", "none"), default="torch")
    parser.add_argument("--as", dest="name", choices=("saltjax", "torch"), help=argparse.SUPPRESS)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings of adapt: remat=block mesh.tensor=2")
    args = parser.parse_intermixed_args()
    if args.name:
        return work(args.name, args.model, args)
    directory = args.model or Path.home() / ".cache/saltjax/benchmarks" / args.shape
    if args.model is None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config.json").write_text(json.dumps(SHAPES[args.shape]))

    names = ["saltjax"] if args.rival == "none" else ["saltjax", "torch"]
    if "torch" in names:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else JAX takes most of a GPU's memory
    contenders = {name: Contender(name, directory) for name in names}
    for name, one in contenders.items():
        print(f"{name}: {one.facts}", file=sys.stderr)
    for _ in range(args.rounds):
        for one in contenders.values():
            one.round(args.steps)

    facts = contenders["saltjax"].facts
    here = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"{facts['devices']} x {facts['device']}, {facts['dtype']}; {here}")
    print(f"{'':8} {'ms a step':>10} {'fastest':>8} {'CPU ms':>8} {'tokens/s':>9} {'GFLOP/s':>8}")
    for name, one in contenders.items():
        clock, cpu = one.middle()
        fastest = min(time.clock for time in one.times)
        numbers = f"{clock * 1e3:10.1f} {fastest * 1e3:8.1f} {cpu * 1e3:8.1f} {args.batch * args.length / clock:9,.0f}"
        print(f"{name:8} {numbers} {facts['flops'] / clock / 1e9:8.1f}")
    if peak := facts["peak"]:
        mfu = facts["flops"] / contenders["saltjax"].middle().clock / facts["devices"] / peak
        print(f"MFU {mfu:.1%} of {peak / 1e12:.0f} TFLOP/s")
    print(f"compiled in {facts['compile_seconds']:.1f} s; temporaries {facts['temporaries'] / 2**20:,.0f} MiB a device")
    if "torch" in contenders:
        pairs = list(zip(contenders["saltjax"].times, contenders["torch"].times, strict=True))
        clock, cpu = (statistics.median(b[i] / a[i] for a, b in pairs) for i in (0, 1))
        print(f"torch / saltjax, median of the rounds: {clock:.2f} by the clock, {cpu:.2f} in CPU time")


if __name__ == "__main__":
    main()
