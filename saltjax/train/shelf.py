"""The checkpoints of a run that trains: when one is due, what stays, where to go on from."""

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

import jax
from etils import epath

from saltjax.errors import UserError
from saltjax.hub.directory import FULL
from saltjax.train import checkpoint, checksums
from saltjax.train.config import AdaptConfig
from saltjax.train.due import due
from saltjax.train.processes import agreed, primary
from saltjax.train.run import Run
from saltjax.train.schedules import decay_start
from saltjax.train.step import State


class Shelf:
    """Opening it moves damaged checkpoints at its end aside; `notes` are the lines that say so. Leaving it waits until
    everything is written.

    UserError: all checkpoints are damaged; on leaving, naming the last whole checkpoint: the disk is full.
    """

    def __init__(self, run: Run, config: AdaptConfig):
        self._run, self._config = run, config
        sorted_out = agreed(_sort_out(run.checkpoints) if primary() else None)
        self.notes: list[str] = sorted_out["notes"]
        if sorted_out["error"]:
            raise UserError(sorted_out["error"])
        self._keep = checkpoint.Keep(config.keep_checkpoints)
        if (falls := self._falls()) is not None:
            self._keep.always.add(falls)
        self._checkpoints = checkpoint.open_checkpoints(run.checkpoints, self._keep)
        self._steps = {one.step for one in self._checkpoints.checkpoints}
        self._closing = ExitStack()

    def __enter__(self) -> "Shelf":
        self._closing.enter_context(checkpoint.finishing(self._checkpoints))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, jax.errors.JaxRuntimeError) and jax.process_count() > 1:
            return  # maybe a process is gone: what is being written waits for it, and will never be whole
        self._closing.__exit__(kind, error, trace)
        if isinstance(error, OSError) and error.errno in FULL:
            raise UserError(f"{self._run.path}: the disk is full; {self.good}; free some space and resume") from error

    @property
    def last(self) -> int | None:
        """The step of the last checkpoint."""
        return max(self._steps, default=None)

    @property
    def good(self) -> str:
        """For messages: what there is to go back to."""
        return "there is no checkpoint yet" if self.last is None else f"the last whole checkpoint is step {self.last}"

    def __contains__(self, step: int) -> bool:
        return step in self._steps

    def restore(self, like: Callable[[int], State]) -> tuple[int, State, dict] | None:
        """(step, state, data) to go on from; None without a checkpoint. `like(step)` is its abstract state."""
        if self.last is None:
            return None
        return self.last, *checkpoint.restore(self._checkpoints, self.last, like(self.last))

    def due(self, step: int) -> bool:
        """Regularly, at the end, and before the rate falls for good: there a longer run can go on."""
        return step == self._falls() or due(step, self._config.checkpoint_every, self._config.steps)

    def save(self, step: int, state: State, data: dict, best: int | None = None) -> None:
        """Start writing; returns as soon as the arrays are copied. When it is whole, others go: all but the last
        `keep_checkpoints`, that from before the decay, and that of step `best`."""
        kept = {self._falls(), best}
        self._keep.always = {one for one in kept if one is not None}
        checkpoint.save(self._checkpoints, state, data)
        self._steps.add(step)

    def _falls(self) -> int | None:
        return decay_start(self._config) if self._config.decay_steps else None


def _sort_out(directory: epath.Path) -> dict:
    """Looks at the checkpoints from the last one back to a whole one, and moves the damaged ones aside: {"notes":
    lines about them, "error": None, or that none is whole; then nothing was moved}."""
    damaged: list[tuple[int, str]] = []
    for step in reversed(checkpoint.steps(directory)):
        damage = checksums.damage(directory / str(step))
        if damage is None:
            notes = []
            for broken, why in damaged:
                aside = directory / f"broken-{broken}"
                if aside.exists():
                    aside.rmtree()
                (directory / str(broken)).rename(aside)
                notes.append(f"checkpoint {broken} is damaged ({why}); it is now {aside}, and step {step} is the last")
            return {"notes": notes, "error": None}
        damaged.append((step, damage))
    if not damaged:
        return {"notes": [], "error": None}
    steps = ", ".join(str(step) for step, _ in damaged)
    error = (
        f"{directory}: every checkpoint is damaged (steps {steps}; {damaged[0][1]}); "
        "bring one back from a copy, or remove them to begin again from the model"
    )
    return {"notes": [], "error": error}
