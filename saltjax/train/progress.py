"""What a person sees on stderr while it trains: a bar with the time left and the numbers, or now and then a line."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

EVERY = 30.0  # seconds between plain lines


class Progress:
    """A bar on a terminal; else a plain line for the first and the last step and every half minute between."""

    def __init__(self, total: int, done: int, quiet: bool = False):
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)
        self._total = total
        self._since: tuple[int, float] | None = None  # the first step that we see ends the compiling
        self._last_line = -EVERY
        self._now: Sequence[str] = ()
        self._live: Live | None = None
        if sys.stderr.isatty():
            self._bar = Bar(
                BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
                console=self._console,
            )  # fmt: skip
            self._task = self._bar.add_task("", total=total, completed=done)
            self._live = Live(console=self._console, get_renderable=self._view)

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.start(refresh=True)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """A line of its own."""
        self._console.print(text, markup=False)

    def step(self, done: int, now: Sequence[str] = ()) -> None:
        """`done` steps are done; `now` are the latest numbers when there are new ones, the most important first."""
        if self._live:
            self._now = now or self._now
            self._bar.update(self._task, completed=done)
        elif now and (time.monotonic() - self._last_line >= EVERY or done == self._total):
            self._last_line = time.monotonic()
            left = ""
            if self._since and done > self._since[0]:
                rate = (self._last_line - self._since[1]) / (done - self._since[0])
                left = f"  {_clock(rate * (self._total - done))} left"
            self.say(f"step {done}/{self._total}  {'  '.join(now)}{left}")
        self._since = self._since or (done, time.monotonic())

    def _view(self) -> Group:
        return Group(self._bar, *([Text(fitting(self._now, self._console.width), no_wrap=True)] if self._now else []))


def fitting(parts: Sequence[str], width: int) -> str:
    """The first ones of these that fit into a line."""
    found = ""
    for part in parts:
        longer = f"{found}  {part}" if found else part
        if len(longer) > width:
            break
        found = longer
    return found


def _clock(seconds: float) -> str:
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"
