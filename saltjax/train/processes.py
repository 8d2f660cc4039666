"""Several processes of one run (`jax.distributed`): how they join, agree, share a batch, and end together."""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import distributed  # JAX has no public door to its coordination service; Orbax uses this one too
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from saltjax.errors import UserError
from saltjax.train.mesh import batch_sharding

ENVIRONMENT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
FAILED = "saltjax/failed"  # a note in JAX's coordination service: which process ended, and why
LOOK = 0.5  # seconds between looks at it
PATIENCE = 3600  # seconds that a process which is done waits for the others: process 0 draws and writes more
LINGER = 5.0  # seconds that process 0 stays, so that the others can look: it is the service


def primary() -> bool:
    """Whether this process is the one that writes settings and metrics, and speaks."""
    return jax.process_index() == 0


def agreed(value: Any) -> Any:
    """Process 0's `value` (JSON) in every process. All must call."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8).astype(np.int32)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    mine = text if primary() else np.zeros(size, np.int32)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(mine)).astype(np.uint8).tobytes())


def batch_part(mesh: Mesh, batch_size: int) -> tuple[int, int]:
    """(index, count): this process feeds part `index` of `count` equal parts of a batch, cut as `batch_sharding` does.

    Processes whose devices see the same sequences (a tensor axis across them) have the same part. UserError: a
    process's devices see some of another's sequences, but not all.
    """
    rows: dict[int, set[tuple[int, int]]] = {}
    device: Any  # typed as a mere name in JAX
    for device, (cut,) in batch_sharding(mesh).devices_indices_map((batch_size,)).items():
        start, stop, _ = cut.indices(batch_size)
        rows.setdefault(device.process_index, set()).add((start, stop))
    parts = sorted({tuple(sorted(one)) for one in rows.values()})
    if sum(len(one) for one in parts) != len({cut for one in parts for cut in one}):
        sizes = " x ".join(f"{name}={size}" for name, size in mesh.shape.items())
        raise UserError(
            f"mesh {sizes}: the {len(rows)} processes would share sequences in part; "
            f"make mesh.tensor divide, or be a multiple of, the {jax.local_device_count()} devices of a process"
        )
    return parts.index(tuple(sorted(rows[jax.process_index()]))), len(parts)


class Ballot:
    """Whether any process says yes, known one call later: the devices carry the votes, and no process waits.

    All must call equally often, between the same programs.
    """

    def __init__(self) -> None:
        self._everywhere = Mesh(np.array(jax.devices()), ("device",))
        self._any = jax.jit(jnp.max, out_shardings=NamedSharding(self._everywhere, P()))
        self._before: jax.Array | None = None

    def __call__(self, mine: bool) -> bool:
        mine_everywhere = np.full(jax.local_device_count(), mine, np.int32)
        votes = jax.make_array_from_process_local_data(NamedSharding(self._everywhere, P("device")), mine_everywhere)
        before, self._before = self._before, self._any(votes)
        return before is not None and bool(before)


@contextmanager
def together() -> Iterator[None]:
    """Join the other processes, before any device is touched; whatever ends one of them then ends all.

    TPU pods, SLURM and Open MPI are found out by JAX; elsewhere the variables of `ENVIRONMENT` say it. An error inside
    is printed and ends this process at once (2 for a user's mistake, 130 for an interrupt, else 1), for Python's way
    out would wait for the others; they are told, print a line and end with 2. A process that was killed tells nobody:
    JAX notices, soon or after its 100 seconds, and the others end with 1 or by JAX's own hand.

    UserError: nothing says what the processes are; the others do not come.
    """
    _join()
    here = distributed.global_state
    client: Any = here.client
    left = threading.Event()
    watching = threading.Thread(target=_watch, args=(client, left), daemon=True)
    watching.start()
    try:
        yield
    except BaseException as error:
        left.set()
        status = _last_words(error, client)
        _tell(client, f"process {here.process_id} of {here.num_processes} ended: {_line(error)}")
        _leave(status)
    client.wait_at_barrier("saltjax/done", PATIENCE * 1000)
    left.set()
    watching.join()
    jax.distributed.shutdown()


def _join() -> None:
    jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM for itself; ours is in interrupt.py
    given = {name: os.environ[name] for name in ENVIRONMENT if os.environ.get(name)}
    if given and len(given) < len(ENVIRONMENT):
        missing = ", ".join(name for name in ENVIRONMENT if name not in given)
        raise UserError(f"--distributed: {', '.join(given)} needs {missing} too")
    try:
        if not given:
            jax.distributed.initialize()
            return
        address, count, index = given.values()
        jax.distributed.initialize(address, int(count), int(index), cluster_detection_method="deactivate")
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"--distributed: the processes did not find each other ({_line(error)}); on a TPU pod, under SLURM and "
            f"Open MPI nothing is needed, elsewhere set {', '.join(ENVIRONMENT)}"
        ) from None


def _watch(client: Any, left: threading.Event) -> None:
    """Ends this process when another one has failed. Runs in a thread: the main one may wait for the devices."""
    while not left.wait(LOOK):
        if (why := _told(client)) and not left.is_set():
            _say(f"{why}; this one ends too")
            _leave(2)


def _tell(client: Any, why: str) -> None:
    with suppress(jax.errors.JaxRuntimeError):  # another one was first, or the service is gone: then they know
        client.key_value_set(FAILED, why)


def _told(client: Any) -> str | None:
    try:
        return client.key_value_try_get(FAILED)
    except jax.errors.JaxRuntimeError:
        return None


def _say(line: str) -> None:
    print(f"saltjax: {line}", file=sys.stderr, flush=True)


def _leave(status: int) -> None:
    if distributed.global_state.process_id == 0:
        time.sleep(LINGER)
    os._exit(status)


def _last_words(error: BaseException, client: Any) -> int:
    """Print what a person should know of an error; its exit status."""
    if isinstance(error, UserError):
        _say(str(error))
        return 2
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, jax.errors.JaxRuntimeError):  # maybe because another process has ended
        time.sleep(LOOK)
        if why := _told(client):
            _say(f"{why}; this one ends too")
            return 2
        _say(f"JAX stopped ({_line(error)}); if a process was killed, start all again: they resume")
        return 1
    traceback.print_exception(error)
    return 1


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__
