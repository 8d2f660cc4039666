"""The program starts itself again with large pages, once, and only where that changes something."""

import os
import subprocess
import sys

import pytest

from saltjax.cli import pages

MADVISE = "always [madvise] never\n"


@pytest.mark.parametrize(
    ("now", "modes", "expected"),
    [
        ("", MADVISE, "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.arena_max=2", MADVISE, "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", MADVISE, None),
        ("", "[always] madvise never\n", None),
        ("", "always madvise [never]\n", None),
        ("", "", None),
    ],
)
def test_tunables(now, modes, expected):
    assert pages.tunables(now, modes) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="execv and its environment, on Linux")
def test_the_process_starts_again_once_with_its_arguments(tmp_path):
    modes = tmp_path / "enabled"
    modes.write_text(MADVISE)
    script = tmp_path / "command.py"
    script.write_text(
        "import os, sys, pathlib\nfrom saltjax.cli import pages\n"
        f"pages.MODES = pathlib.Path({str(modes)!r})\nprint('began', flush=True)\npages.large_pages()\n"
        "print(os.environ['GLIBC_TUNABLES'], sys.argv[1:], sys.flags.optimize)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-O", script, "adapt", "two words", "-x"]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert out == "began\nbegan\nglibc.malloc.hugetlb=1 ['adapt', 'two words', '-x'] 1\n"
