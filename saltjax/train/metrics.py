"""What a run measures: metrics.jsonl, one JSON object a log point, and the same numbers for TensorBoard.

A training line: step (steps done), loss (nats a target token, of that step), learning_rate, grad_norm (before
clipping), tokens (targets so far), seconds (training so far; without compiling, evaluation and checkpoints); since the
line before: tokens_per_second, tokens_per_second_per_device, step_seconds, data_wait (share of the time), mfu (share of
the devices' peak, or null); device_memory_bytes, device_memory_peak_bytes (or null); tokens_seen {corpus: tokens of its
text so far}, epochs {corpus: of it so far}. docs/training.md says how each is measured.
An evaluation line: step, bits_per_byte {name: value}.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from saltjax.train.wandblog import WandbLog


def read(path: Path) -> list[dict[str, Any]]:
    """All whole lines; a last one that was torn by a kill is left out."""
    if not path.exists():
        return []
    *whole, _ = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in whole if line]


def cut(path: Path, step: int) -> None:
    """Drop the lines beyond `step`: a resumed run writes them again."""
    if path.exists():
        kept = [line for line in read(path) if line["step"] <= step]
        partial = path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        os.replace(partial, path)


class Log:
    """Appends lines to metrics.jsonl and to `tensorboard/` beside it, at once and in this thread; and to W&B.

    (tensorboardX's SummaryWriter writes from a thread, and waits for ever when that has died of a full disk.)
    """

    def __init__(self, path: Path, resumed_at: int | None, mirror: WandbLog | None = None):
        self._mirror = mirror
        self._file = path.open("ab", buffering=0)
        board = path.parent / "tensorboard"
        board.mkdir(exist_ok=True)
        self._board = EventsWriter(str(board / "events"))
        if resumed_at is not None:  # TensorBoard forgets what it has from here on
            start = SessionLog(status=SessionLog.START)
            self._board.write_event(Event(wall_time=time.time(), step=resumed_at + 1, session_log=start))

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        if self._mirror:
            self._mirror.__exit__(kind, error, trace)
        with suppress(OSError):  # every line was flushed; what fails now failed, and was raised, before
            self._board.close()

    def write(self, line: dict[str, Any]) -> None:
        self._file.write((json.dumps(line) + "\n").encode())
        scalars = dict(_scalars(line))
        for tag, value in scalars.items():
            self._board.write_event(Event(wall_time=time.time(), step=line["step"], summary=scalar(tag, value)))
        self._board.flush()
        if self._mirror:
            self._mirror.write(line["step"], scalars)


def _scalars(line: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in line.items():
        if isinstance(value, dict):
            yield from ((f"{key}/{name}", one) for name, one in value.items())
        elif key != "step" and value is not None:
            yield f"train/{key}", value
