"""What a run tells: lines in metrics.jsonl and TensorBoard, sentences on the terminal, pictures."""

import time
from types import TracebackType
from typing import Any

from saltjax.train import metrics, plots
from saltjax.train.best import best_step
from saltjax.train.config import to_flat
from saltjax.train.processes import agreed, primary
from saltjax.train.progress import Progress
from saltjax.train.run import Run
from saltjax.train.wandblog import WandbLog

PLOT_EVERY = 30.0  # seconds, at evaluations; the end always draws
NOTABLE_WAIT = 0.02  # of the time spent waiting for data is said


class Journal:
    """The telling of a run; `resumed_at` is the step of its checkpoint, None for a fresh one. What was
    written after that step is dropped: the run writes it again. Of several processes the first one tells."""

    def __init__(self, run: Run, resumed_at: int | None):
        self._run, self._resumed_at = run, resumed_at
        self.progress = Progress(run.config.steps, resumed_at or 0, quiet=not primary())
        self.say = self.progress.say

    def __enter__(self) -> "Journal":
        self._log: metrics.Log | None = None
        lines = []
        if primary():
            file, project = self._run.metrics, self._run.config.wandb
            metrics.cut(file, -1 if self._resumed_at is None else self._resumed_at)
            lines = metrics.read(file)
            settings = {**self._run.inputs, **to_flat(self._run.config)}
            mirror = WandbLog(self._run.path, project, settings) if project else None
            self._log = metrics.Log(file, self._resumed_at, mirror)
        self.loss: float | None = agreed(next((line["loss"] for line in reversed(lines) if "loss" in line), None))
        evaluations = agreed([(line["step"], line["bits_per_byte"]) for line in lines if "bits_per_byte" in line])
        self.scores: dict[int, dict[str, float]] = dict(evaluations)
        self.valid: dict[str, float] = evaluations[-1][1] if evaluations else {}
        self._drawn = time.monotonic()
        self.progress.__enter__()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.__exit__(kind, error, trace)
        if self._log:
            self._log.__exit__(kind, error, trace)

    def evaluation(self, step: int, valid: dict[str, float]) -> None:
        """Held-out bits per byte after `step` steps."""
        self.valid = {name: float(value) for name, value in valid.items()}
        self.scores[step] = self.valid
        self._write({"step": step, "bits_per_byte": self.valid})
        self.say(
            f"step {step}: " + ", ".join(f"{name} {value:.4f} bits per byte" for name, value in self.valid.items())
        )
        if time.monotonic() - self._drawn > PLOT_EVERY:
            self.draw()

    def training(self, step: int, numbers: dict[str, float], totals: dict[str, Any]) -> None:
        """The metrics of the step that was just done, and the run's totals."""
        self.loss = numbers["loss"]
        kept = {key: numbers[key] for key in ("loss", "learning_rate", "grad_norm")}
        self._write({"step": step, **kept, **totals})
        now = [f"loss {self.loss:.4f}", f"{totals['tokens_per_second']:,.0f} tokens/s"]
        if totals["mfu"]:
            now.append(f"MFU {totals['mfu']:.1%}")
        if totals["data_wait"] > NOTABLE_WAIT:
            now.append(f"waits {totals['data_wait']:.0%} for data")
        self.progress.step(step, [*now, f"lr {kept['learning_rate']:.2e}"])

    def best(self, of: str) -> int | None:
        """The step with the lowest bits per byte so far (`best.best_step`)."""
        return best_step(self.scores, of)

    def draw(self) -> None:
        if self._log:
            plots.draw(self._run.path)
        self._drawn = time.monotonic()

    def _write(self, line: dict[str, Any]) -> None:
        if self._log:
            self._log.write(line)
