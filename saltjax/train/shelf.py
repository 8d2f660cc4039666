"""The checkpoints of a run that trains: when one is due, what goes in, where to go on from."""

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

from saltjax.errors import UserError
from saltjax.hub.directory import FULL
from saltjax.train import checkpoint
from saltjax.train.config import AdaptConfig
from saltjax.train.due import due
from saltjax.train.run import Run
from saltjax.train.schedules import decay_start
from saltjax.train.step import State


class Shelf:
    """Leaving it waits until everything is written. UserError, naming the last whole checkpoint: the disk is full."""

    def __init__(self, run: Run, config: AdaptConfig):
        self._run, self._config = run, config
        self._checkpoints = checkpoint.open_checkpoints(run.checkpoints, config.keep_checkpoints)
        self._steps = {one.step for one in self._checkpoints.checkpoints}
        self._closing = ExitStack()

    def __enter__(self) -> "Shelf":
        self._closing.enter_context(checkpoint.finishing(self._checkpoints))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
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
        falls = self._config.decay_steps > 0 and step == decay_start(self._config)
        return falls or due(step, self._config.checkpoint_every, self._config.steps)

    def save(self, step: int, state: State, data: dict) -> None:
        """Start writing; returns as soon as the arrays are copied."""
        checkpoint.save(self._checkpoints, state, data)
        self._steps.add(step)
