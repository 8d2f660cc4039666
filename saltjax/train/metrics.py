"""What a run measures: metrics.jsonl, one JSON object a log point, and the same numbers for TensorBoard.

A training line: step (steps done), loss (nats a target token, of that step), learning_rate, grad_norm (before
clipping), tokens (targets so far), tokens_per_second (since the line before; without compiling, evaluation and
checkpoints), seconds (training so far). An evaluation line: step, bits_per_byte {name: value}.
"""

import json
import os
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter


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
    """Appends lines to metrics.jsonl and to `tensorboard/` beside it."""

    def __init__(self, path: Path, resumed_at: int | None):
        self._file = path.open("a", encoding="utf-8")
        purge = None if resumed_at is None else resumed_at + 1
        self._board = SummaryWriter(str(path.parent / "tensorboard"), purge_step=purge)

    def write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for key, value in line.items():
            if isinstance(value, dict):
                for name, one in value.items():
                    self._board.add_scalar(f"{key}/{name}", one, line["step"])
            elif key != "step":
                self._board.add_scalar(f"train/{key}", value, line["step"])

    def close(self) -> None:
        self._file.close()
        self._board.close()
