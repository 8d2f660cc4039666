"""The kernels are TPU programs: libtpu's compiler runs without a TPU. Needs `pip install 'jax[tpu]'`."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks/transfer_tpu.py"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_the_pipeline_compiles_for_tpu_slices_without_collectives():
    """In a process of its own: the compiler must find no other backend in use."""
    command = [sys.executable, str(BENCHMARK), "--slices", "v5e:2x2", "v5p:2x2x1", "v6e:2x2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines()[1:]]
    assert len(lines) == 21
    assert {line[-1] for line in lines} == {"none"}
    assert all(sum(int(x) for x in line[-4:-1]) < 2048 for line in lines)  # MiB a chip, of 16 GiB
