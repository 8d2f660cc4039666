"""What a run tells: lines in metrics.jsonl and TensorBoard, sentences on the terminal, pictures."""

import time
from pathlib import Path
from types import TracebackType
from typing import Any

from saltjax.train import metrics, plots
from saltjax.train.progress import Progress

PLOT_EVERY = 30.0  # seconds, at evaluations; the end always draws


class Journal:
    """The telling of the run at `path`; `resumed_at` is the step of its checkpoint, None for a fresh one. What was
    written after that step is dropped: the run writes it again."""

    def __init__(self, path: Path, total: int, resumed_at: int | None):
        self._path = path
        self.progress = Progress(total, resumed_at or 0)
        self.say = self.progress.say
        metrics.cut(path / "metrics.jsonl", -1 if resumed_at is None else resumed_at)
        lines = metrics.read(path / "metrics.jsonl")
        self.loss: float | None = next((line["loss"] for line in reversed(lines) if "loss" in line), None)
        evaluations = [line for line in lines if "bits_per_byte" in line]
        self.valid: dict[str, float] = evaluations[-1]["bits_per_byte"] if evaluations else {}
        self.evaluated = {line["step"] for line in evaluations}
        self._log = metrics.Log(path / "metrics.jsonl", resumed_at)
        self._drawn = time.monotonic()

    def __enter__(self) -> "Journal":
        self.progress.__enter__()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.__exit__(kind, error, trace)
        self._log.__exit__(kind, error, trace)

    def evaluation(self, step: int, valid: dict[str, float]) -> None:
        """Held-out bits per byte after `step` steps."""
        self.valid = {name: float(value) for name, value in valid.items()}
        self.evaluated.add(step)
        self._log.write({"step": step, "bits_per_byte": self.valid})
        self.say(
            f"step {step}: " + ", ".join(f"{name} {value:.4f} bits per byte" for name, value in self.valid.items())
        )
        if time.monotonic() - self._drawn > PLOT_EVERY:
            self.draw()

    def training(self, step: int, numbers: dict[str, float], totals: dict[str, Any]) -> None:
        """The metrics of the step that was just done, and the run's totals."""
        self.loss = numbers["loss"]
        kept = {key: numbers[key] for key in ("loss", "learning_rate", "grad_norm")}
        self._log.write({"step": step, **kept, **totals})
        speed = totals["tokens_per_second"]
        self.progress.step(step, f"loss {self.loss:.4f}  lr {kept['learning_rate']:.2e}  {speed:,.0f} tokens/s")

    def draw(self) -> None:
        plots.draw(self._path)
        self._drawn = time.monotonic()
