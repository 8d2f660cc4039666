"""Large pages for the memory that XLA takes and gives back at every step.

XLA on a CPU asks for its temporaries anew at each call, and the kernel hands them out in pages of 4 KiB, each at its
first touch: of a small model's training step that is a seventh of the CPU time (`benchmarks/train_step.py`). Where
Linux gives large pages to those who ask (`madvise`), glibc 2.35 and later asks for its users if an environment variable
says so before the process starts; others ignore it. On TPU machines libtpu asks for the same setting.
"""

import os
import sys
from pathlib import Path

MODES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
TUNABLE = "glibc.malloc.hugetlb"


def large_pages() -> None:
    """Start this process again, once, with GLIBC_TUNABLES that ask for large pages, where that changes anything."""
    modes = MODES.read_text() if MODES.is_file() else ""
    if (wanted := tunables(os.environ.get("GLIBC_TUNABLES", ""), modes)) is not None:
        os.environ["GLIBC_TUNABLES"] = wanted
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def tunables(now: str, modes: str) -> str | None:
    """GLIBC_TUNABLES with ours, or None: it is set already, or all (or no) processes get large pages anyhow."""
    if "[madvise]" not in modes or TUNABLE in now:
        return None
    return ":".join(filter(None, (now, f"{TUNABLE}=1")))
