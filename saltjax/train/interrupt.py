"""Ctrl-C and SIGTERM as a wish: the loop looks, finishes its step and saves."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

from saltjax.train.processes import Ballot

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_lately = threading.Event()


def asked_lately() -> bool:
    """Whether a stop was asked for in the last `stop_wish` of this process, be it too late to be heard: what comes
    after a training wants to know."""
    return _lately.is_set()


@contextmanager
def stop_wish(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether a stop was asked for. A second signal does what it always does.

    With several processes a signal to any of them counts for all: each must call the function at the same places,
    and the answer is that of the call before (`processes.Ballot`), so that all stop after the same step.

    Outside the main thread Python has no signals: then the wish is always no.
    """
    asked = threading.Event()
    _lately.clear()
    answer = asked.is_set
    if jax.process_count() > 1:
        ballot = Ballot()

        def answer() -> bool:
            return ballot(asked.is_set())

    if threading.current_thread() is not threading.main_thread():
        yield answer
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: Any) -> None:
        asked.set()
        _lately.set()
        restore()
        say(f"{signal.Signals(number).name}: finishing this step and saving; once more to stop at once")

    for number in SIGNALS:
        signal.signal(number, ask)
    try:
        yield answer
    finally:
        restore()
