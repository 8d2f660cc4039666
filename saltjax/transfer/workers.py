"""How many programs may run at once: XLA's CPU client runs small matrices on one core, so one program is not enough."""

import os
from contextlib import suppress
from pathlib import Path

import jax
from jax.sharding import Mesh

OVERLAP = 3  # on an accelerator: one computes while others are fed and fetched
POOL = "tf_XLAEigen"  # XLA's name of the threads that its CPU client computes on


def workers(mesh: Mesh | None = None) -> int:
    """Threads that may each give a program to the devices.

    On a CPU a program's loop keeps one thread of XLA's pool waiting for what other threads of that pool compute: as
    many programs as threads stand still for ever. So no more than half of the pool may wait, on however many devices.
    The pool is as large as the machine's cores, or as NPROC says, which `ask_for_cores` sets; it is counted, not
    believed, and where that cannot be done (not Linux) one program runs at a time.
    """
    if jax.default_backend() != "cpu":
        return OVERLAP
    return max(1, min(cores(), _pool() // (2 * (mesh.size if mesh else 1))))


def _pool() -> int:
    """The threads of XLA's pool; other threads of this process may end while they are looked at."""
    found = 0
    for comm in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):
            found += comm.read_text().startswith(POOL)
    return found


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ask_for_cores() -> None:
    """Before JAX starts: a pool that lets every core run a program. Does nothing afterwards, or if NPROC is set."""
    os.environ.setdefault("NPROC", str(2 * cores()))
