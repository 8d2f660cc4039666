"""What stands on a terminal of some width while a run trains."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios

import pytest

from saltjax.train.progress import fitting

NUMBERS = ["loss 2.3456", "41,234 tokens/s", "MFU 46.1%", "waits 3% for data", "lr 1.00e-04"]
PROGRAM = f"""
from saltjax.train.progress import Progress
input()
with Progress(2000, 0) as progress:
    progress.step(100, {NUMBERS})
    progress.step(1101)
"""


def on_a_terminal(width: int) -> list[str]:
    """The lines that the program leaves there."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.pop("COLUMNS", None)
        os.execve(sys.executable, [sys.executable, "-c", PROGRAM], {**os.environ, "TERM": "xterm"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    os.write(terminal, b"\n")
    seen = b""
    try:
        while data := os.read(terminal, 65536):
            seen += data
    except OSError:  # the terminal is closed
        pass
    assert os.waitpid(child, 0)[1] == 0, seen
    return [line for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode()).splitlines() if line.strip()]


@pytest.mark.parametrize(("width", "numbers"), [(80, NUMBERS), (40, NUMBERS[:3])])
def test_steps_time_and_the_numbers_that_fit(width, numbers):
    *_, bar, line = on_a_terminal(width)
    assert re.fullmatch(r"━*[╸╺]?━* 1101/2000 \d:\d\d:\d\d left \S+", bar.strip()) and len(bar) <= width
    assert line.strip() == "  ".join(numbers)


def test_what_does_not_fit_is_left_out_from_the_end():
    assert (
        fitting(["ab", "cd", "e"], 6) == "ab  cd" and fitting(["ab", "cd", "e"], 5) == "ab" and fitting(["ab"], 1) == ""
    )
