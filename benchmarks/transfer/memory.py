"""Peak resident memory of one call."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 1 << 20


def _status(field: str) -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) * 1024


def peak_beyond(call: Callable[[], Any]) -> tuple[Any, float]:
    """(result, MiB that were resident at the highest point beyond those before the call). Linux; else NaN."""
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest point so far
        before = _status("VmRSS")
    except OSError:
        return call(), float("nan")
    result = call()
    return result, (_status("VmHWM") - before) / MIB
