"""Ctrl-C and SIGTERM as a wish: the loop looks, finishes its step and saves."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_wish(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether a stop was asked for. A second signal does what it always does.

    Outside the main thread Python has no signals: then the answer is always no.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: Any) -> None:
        asked.set()
        restore()
        say(f"{signal.Signals(number).name}: finishing this step and saving; once more to stop at once")

    for number in SIGNALS:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        restore()
