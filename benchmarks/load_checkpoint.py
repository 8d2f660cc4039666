"""Loading a checkpoint: ours against a plain sequential read of the same bytes, in one process.

    python benchmarks/load_checkpoint.py                 # 2 GB of bfloat16 in shards of 500 MB
    python benchmarks/load_checkpoint.py --gigabytes 0.5 --repeats 5

The files lie in a temporary folder. Medians of interleaved runs; the page cache is warm for all. The plain read fills
one fresh buffer, which is what a result in memory costs at least; a read into one small buffer again and again keeps
nothing and is shown for reference. safetensors' own load gives NumPy arrays as stored; ours has every matrix transposed
and stacked, on the device. `beyond` is the peak of this process's resident memory, mapped pages of files included,
beyond what it had before and beyond the result; `CPU` is the time of all threads, so that a busy machine shows. Before
each run as much memory as the largest result takes is touched and given back: a virtual machine may have lent it to
others, and fetching it again would be charged to whoever comes first.
"""

import argparse
import gc
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from safetensors.numpy import load_file
from transformers import LlamaConfig

from saltjax.hub.shards import write_checkpoint
from saltjax.models import abstract_model, family_of, load_model
from saltjax.models.model import stored_tensors

MB = 1_000_000


def write(directory: Path, gigabytes: float) -> int:
    """A Llama of 2048 with as many layers as fit, random bits of ordinary size; returns the bytes of its files."""
    hf = LlamaConfig(
        vocab_size=32_000, hidden_size=2048, intermediate_size=8192, num_attention_heads=32, num_key_value_heads=8,
        num_hidden_layers=max(1, round((gigabytes * 1000 - 262) / 121.6)), dtype="bfloat16",
    )  # fmt: skip
    hf.save_pretrained(directory)
    config = family_of(hf).decoder_config(hf)
    rng = np.random.default_rng(0)
    shapes = {name: spec.shape for name, spec in stored_tensors(config, abstract_model(config)[1]).items()}
    tensors = (
        (name, rng.integers(0x3C00, 0x3F80, shape, np.uint16).view(ml_dtypes.bfloat16))
        for name, shape in shapes.items()
    )
    plan = {name: (np.dtype(ml_dtypes.bfloat16), shape) for name, shape in shapes.items()}
    write_checkpoint(directory, plan, tensors, max_shard_bytes=500 * MB)
    return sum(file.stat().st_size for file in directory.glob("*.safetensors"))


def plain_read(files: list[Path]) -> np.ndarray:
    buffer = np.empty(sum(file.stat().st_size for file in files), np.uint8)
    at = 0
    for file in files:
        with open(file, "rb", buffering=0) as stream:
            while count := stream.readinto(buffer[at : at + 64 * MB]):
                at += count
    return buffer


def read_and_forget(files: list[Path]) -> np.ndarray:
    buffer = np.empty(MB, np.uint8)
    for file in files:
        with open(file, "rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass
    return buffer


def status(field: str) -> int:
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text()).group(1))


def timed(load: Callable[[], object], largest: int) -> tuple[float, float, int]:
    """Seconds, CPU seconds, and bytes of resident memory at the peak beyond those before and those of the result."""
    gc.collect()
    np.empty(largest, np.uint8).fill(1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = status("VmRSS")
    start, cpu = time.perf_counter(), time.process_time()
    result = jax.block_until_ready(load())
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return seconds, cpu, status("VmHWM") - before - sum(leaf.nbytes for leaf in jax.tree.leaves(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where the temporary folder is made")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        directory = Path(folder)
        size = write(directory, args.gigabytes)
        files = sorted(directory.glob("*.safetensors"))
        print(
            f"{size / 1e9:.2f} GB in {len(files)} files, the largest {max(f.stat().st_size for f in files) / MB:.0f} MB"
        )
        loads: dict[str, Callable[[], object]] = {
            "plain read": lambda: plain_read(files),
            "read and forget": lambda: read_and_forget(files),
            "safetensors.numpy": lambda: [load_file(file) for file in files],
            "ours, bfloat16": lambda: load_model(directory, dtype=jnp.bfloat16).params,
            "ours, float32": lambda: load_model(directory).params,
        }
        runs: dict[str, list[tuple[float, float, int]]] = {name: [] for name in loads}
        for repeat in range(args.repeats + 1):
            for name, load in loads.items():
                measured = timed(load, 2 * size)
                if repeat:  # the first warms the page cache
                    runs[name].append(measured)
    plain = statistics.median(seconds for seconds, _, _ in runs["plain read"])
    columns = (("seconds", 9), ("CPU", 7), ("GB/s", 7), ("x plain", 9), ("beyond, MB", 12))
    print(" " * 20 + "".join(f"{name:>{width}s}" for name, width in columns))
    for name, measured in runs.items():
        seconds, cpu = (statistics.median(run[i] for run in measured) for i in (0, 1))
        beyond = max(run[2] for run in measured) / MB
        print(f"{name:20s}{seconds:9.3f}{cpu:7.3f}{size / seconds / 1e9:7.2f}{seconds / plain:9.2f}{beyond:12.0f}")


if __name__ == "__main__":
    main()
