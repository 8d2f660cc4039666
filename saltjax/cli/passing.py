"""What a person sees on stderr while text goes through a model: a line now and then."""

import sys
import time
from types import TracebackType

from saltjax.cli.reading import Reading

EVERY = 10.0  # seconds between lines


class Passing:
    """Called with a language, the windows that are done, and their number; `reading` is told of tokenisation before."""

    def __init__(self) -> None:
        self.reading = Reading()
        self._last = time.monotonic()

    def __enter__(self) -> "Passing":
        self.reading.__enter__()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.reading.__exit__(kind, error, trace)

    def __call__(self, language: str, done: int, of: int) -> None:
        if done == of or time.monotonic() - self._last >= EVERY:
            self._last = time.monotonic()
            line(f"{language}: {done:,} of {of:,} windows")


def line(text: str) -> None:
    print(text, file=sys.stderr)
