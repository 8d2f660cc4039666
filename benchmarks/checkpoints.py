"""What a checkpoint costs: how long the loop waits, how long it is written, what the checksums add.

    python benchmarks/checkpoints.py [GIB] [FOLDER]

A state of GIB (default 1) float32 parameters and two moments of them, written to FOLDER (default: a temporary one).
The checksums' share is processor time of this process, so that it means something on a busy machine too.
"""

import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from saltjax.train import checkpoint, checksums
from saltjax.train.step import State


def main() -> None:
    size = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    folder = sys.argv[2] if len(sys.argv) > 2 else None
    each = int(size * 2**30 / 12 / 16)
    keys = jax.random.split(jax.random.key(0), 48)
    arrays = [jax.random.normal(key, (each,), jnp.float32) for key in keys]
    params = {str(i): x for i, x in enumerate(arrays[:16])}
    moments = {str(i): list(pair) for i, pair in enumerate(zip(arrays[16:32], arrays[32:], strict=True))}
    state = jax.block_until_ready(State(params, moments, jnp.int32(1)))
    spent = [0.0]
    write = checksums.write

    def timed(one: Path) -> None:
        began = time.process_time()
        write(one)
        spent[0] += time.process_time() - began

    checksums.write = timed
    with tempfile.TemporaryDirectory(dir=folder) as place:
        checkpoints = checkpoint.open_checkpoints(place, checkpoint.Keep(1))
        began, cpu = time.perf_counter(), time.process_time()
        checkpoint.save(checkpoints, state, {})
        waited = time.perf_counter() - began
        checkpoints.wait()
        whole, cpu = time.perf_counter() - began, time.process_time() - cpu
        began = time.process_time()
        assert checksums.damage(Path(place) / "1") is None
        looked = time.process_time() - began
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
        began = time.process_time()
        jax.block_until_ready(checkpoint.restore(checkpoints, 1, like)[0])
        restored = time.process_time() - began
        checkpoints.close()
    print(f"{size:g} GiB: the loop waits {waited:.2f} s of {whole:.2f} s until it is whole ({waited / whole:.0%})")
    print(f"checksums: {spent[0]:.2f} of {cpu:.2f} processor seconds of saving ({spent[0] / cpu:.0%})")
    print(f"looking for damage: {looked:.2f} processor seconds, restoring: {restored:.2f} ({looked / restored:.0%})")


if __name__ == "__main__":
    main()
