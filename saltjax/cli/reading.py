"""What a person sees on stderr while text is tokenised: a bar with the time left, or now and then a line."""

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from saltjax.data.tokens import Progress

EVERY = 30.0  # seconds between plain lines


class Reading:
    """Called with a corpus's name and how far its tokenisation is. Silent when nothing has to be tokenised."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._name: str | None = None
        self._bar: Bar | None = None
        self._last_line = time.monotonic()

    def __enter__(self) -> "Reading":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def __call__(self, name: str, now: "Progress") -> None:
        counts = f"{now.documents:,} documents, {now.tokens:,} tokens"
        if not self._console.is_terminal:
            if time.monotonic() - self._last_line >= EVERY:
                self._last_line = time.monotonic()
                self._console.print(f"tokenise {name}: {now.read / max(1, now.size):.0%} read, {counts}", markup=False)
            return
        if self._name != name:
            self._end()
            self._name = name
            columns = (TextColumn("tokenise {task.description}"), BarColumn(), DownloadColumn(), TextColumn("left"))
            self._bar = Bar(*columns, TimeRemainingColumn(), TextColumn("{task.fields[counts]}"), console=self._console)
            self._task = self._bar.add_task(name, total=now.size, counts="")
            self._bar.start()
        if self._bar:
            self._bar.update(self._task, completed=now.read, counts=counts)
            if now.read >= now.size:
                self._end()

    def _end(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None
