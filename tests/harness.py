"""Real `saltjax adapt` processes of a tiny model, to be killed, stopped and compared; and Ctrl-C to ourselves."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import zoo

from saltjax.train import checkpoint, metrics
from saltjax.train.meter import SPEED

BASE = (
    "seq_len=16 batch_size=4 warmup_steps=2 learning_rate=1e-2 log_every=1 compute_dtype=float32 mesh.fsdp=-1".split()
)


class House:
    """A folder with a model, text, caches and runs."""

    def __init__(self, folder: Path):
        self.folder = folder
        zoo.llama(folder / "llm")
        for name, sentences in (("text", zoo.sentences("de", 200)), ("valid", zoo.sentences("de", 210)[200:])):
            (folder / f"{name}.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")

    def settings(self, *more: str) -> list[str]:
        return [*BASE, f"cache={self.folder / 'cache'}", *more]

    def command(self, run: str, *settings: str) -> list[str]:
        main = "from saltjax.cli import main; main()"
        files = ["--text", str(self.folder / "text.txt"), "--valid", f"de={self.folder / 'valid.txt'}"]
        places = [str(self.folder / "llm"), str(self.folder / run)]
        return [sys.executable, "-c", main, "adapt", *places, *files, *self.settings(*settings)]

    def environment(self, devices: int = 1, **more: str) -> dict[str, str]:
        return os.environ | {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / f"xla{devices}"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            **more,
        }

    def start(self, run: str, *settings: str, devices: int = 1, **environment: str) -> subprocess.Popen:
        """One process; its words are in process.stderr."""
        return subprocess.Popen(
            self.command(run, *settings),
            env=self.environment(devices, **environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start_two(
        self, run: str, *settings: str, devices: int = 2, own: dict[int, tuple[str, ...]] | None = None
    ) -> list[subprocess.Popen]:
        """Two processes of one run with some devices each; `own` gives one of them settings of its own."""
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        started = []
        for process in (0, 1):
            who = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": str(process)}
            started.append(
                self.start(run, "--distributed", *settings, *(own or {}).get(process, ()), devices=devices, **who)
            )
        return started


def ended(processes: list[subprocess.Popen], timeout: float = 500) -> tuple[list[int], list[str]]:
    """(statuses, what they said) of processes, which are killed if they do not end."""
    try:
        said = [process.communicate(timeout=timeout)[1] for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
    return [process.returncode for process in processes], said


def lines(run: Path) -> list[dict]:
    """metrics.jsonl without what depends on the clock and the machine."""
    clock = (*SPEED, "seconds")
    return [{k: v for k, v in line.items() if k not in clock} for line in metrics.read(run / "metrics.jsonl")]


def arrays(run: Path, step: int) -> dict[str, np.ndarray]:
    """Everything in a checkpoint but the clock: parameters, moments, state of the data."""
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with checkpoint.open_checkpoints(run / "checkpoints") as checkpoints:
        there = checkpoints.checkpointables_metadata(step).metadata
        like = {
            name: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), there[name])
            for name in ("params", "optimizer")
        }
        found = checkpoints.load_checkpointables(step, {**like, "data": None})
    found["data"].pop("seconds")
    flat, _ = jax.tree_util.tree_flatten_with_path(found)
    return {jax.tree_util.keystr(k): np.asarray(x) for k, x in flat}


def bits(run: Path, step: int) -> dict[str, bytes]:
    return {path: x.tobytes() for path, x in arrays(run, step).items()}


class stopped_once:
    """SIGINT to ourselves as soon as something is there."""

    def __init__(self, there):
        self.there = there

    def __enter__(self):
        def look(number, frame):
            if self.there():
                signal.setitimer(signal.ITIMER_REAL, 0)
                os.kill(os.getpid(), signal.SIGINT)

        self.before = signal.signal(signal.SIGALRM, look)
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)

    def __exit__(self, *how):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)
