"""Before JAX wakes: the CPU as eight devices, no hub, no chatter. And the command as a function."""

import os
import sys

import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


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
