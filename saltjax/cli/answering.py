"""What a person sees on stderr while questions are answered: a bar with the time left, or now and then a line."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TimeRemainingColumn
from rich.progress import Progress as Bar

EVERY = 30.0  # seconds between plain lines


class Answering:
    """Called with a task's name and how many of its questions are answered."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Bar(
            "{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=self._console
        )
        self._tasks: dict[str, TaskID] = {}
        self._last_line = time.monotonic()

    def __enter__(self) -> "Answering":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def __call__(self, name: str, done: int, total: int) -> None:
        if not self._console.is_terminal:
            if time.monotonic() - self._last_line >= EVERY:
                self._last_line = time.monotonic()
                self._console.print(f"{name}: {done:,} of {total:,} questions", markup=False)
            return
        if name not in self._tasks:
            self._bar.start()
            self._tasks[name] = self._bar.add_task(name, total=total)
        self._bar.update(self._tasks[name], completed=done)
