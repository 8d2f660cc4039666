"""A trace of a few steps, for XProf or Perfetto: where the time of a step goes."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType

import jax

from saltjax.errors import UserError


def read_steps(text: str) -> range:
    """`10-13`: the steps 10 to 13, counted from 1 as in metrics.jsonl; `10`: that one; empty: none. UserError."""
    first, _, last = text.partition("-")
    if not text:
        return range(0)
    try:
        found = range(int(first), int(last or first) + 1)
    except ValueError:
        found = range(0)
    if not found or found.start < 1:
        raise UserError(f"profile_steps={text} is not FIRST-LAST, two steps from 1 on, as in profile_steps=10-13")
    return found


class Profile:
    """Writes RUN/profile/plugins/profile/TIME/HOST.* of the wanted steps. (The profiler slows them down a little.)"""

    def __init__(self, run: Path, steps: str):
        self._folder, self._steps = run / "profile", read_steps(steps)
        self._running = False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._running:
            jax.profiler.stop_trace()

    def begin(self, step: int) -> None:
        """Before the step."""
        if step in self._steps and not self._running:
            jax.profiler.start_trace(self._folder)
            self._running = True

    def step(self, step: int) -> AbstractContextManager:
        """Around the step's launch: the viewer groups by it."""
        return jax.profiler.StepTraceAnnotation("train", step_num=step) if self._running else nullcontext()

    def ends(self, step: int) -> bool:
        """Whether this is the last step that is wanted: it has to be waited for."""
        return self._running and step == self._steps[-1]

    def end(self, step: int) -> None:
        """After the step."""
        if self.ends(step):
            jax.profiler.stop_trace()
            self._running = False
