"""Before JAX wakes: the CPU as eight devices, one compilation cache, no hub, no chatter. The command as a function."""

import atexit
import os
import shutil
import signal
import sys
import tempfile

import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"  # of the workers and commands that this process starts
if "SALTJAX_TESTS" not in os.environ:  # the first process: its workers, and the commands that they start, inherit it
    os.environ["SALTJAX_TESTS"] = tempfile.mkdtemp(prefix="saltjax-tests-")
    atexit.register(shutil.rmtree, os.environ["SALTJAX_TESTS"], ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ["SALTJAX_TESTS"]
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

# In the background of a shell Ctrl-C is ignored, and so it would be by the processes that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def handlers():
    """What `main` sets for its process is put back: this one goes on."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hook = sys.unraisablehook
    yield
    sys.unraisablehook = hook
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def home(tmp_path):
    """Where `saltjax` keeps its caches; a module may name another place."""
    return tmp_path / "home"


@pytest.fixture
def saltjax(monkeypatch, capfd, home):
    """A command in this process: (status, stdout, stderr)."""

    def run(*arguments):
        from saltjax.cli import main

        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setattr(sys, "argv", ["saltjax", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        out, err = capfd.readouterr()
        return status, out, err

    return run
