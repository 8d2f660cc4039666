"""The scripts print with --dry-run what they would run; bash itself checks the rest of them."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
ALL = sorted(SCRIPTS.glob("*.sh"))


def run(script, *arguments, **variables):
    """(status, the printed command lines as words, stderr)"""
    environment = {"PATH": os.environ["PATH"], "HOME": "/home/somebody"} | variables
    command = ["bash", str(SCRIPTS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=SCRIPTS)
    return done.returncode, done.stdout, done.stderr


def lines(text):
    return [shlex.split(line) for line in text.splitlines()]


@pytest.mark.parametrize("script", ALL, ids=lambda path: path.name)
def test_a_script_is_strict_and_says_how_it_is_used(script):
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n# ") and "\nset -euo pipefail\n" in text
    assert f"#     scripts/{script.name}" in text
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing():
    assert subprocess.run(["shellcheck", *map(str, ALL)], check=False).returncode == 0


@pytest.mark.parametrize("script", ["tpu.sh", "slurm.sh", "gpus.sh"])
def test_without_arguments_the_usage_is_printed(script):
    status, out, err = run(script)
    assert status == 2 and out == "" and f"scripts/{script} [--dry-run]" in err and "set -euo" not in err


def test_a_tpu_is_queued_installed_run_and_deleted():
    status, out, err = run(
        "tpu.sh", "--dry-run", "create", "t", "europe-west4-b", "v5litepod-16", "--spot", PROJECT="p"
    )
    assert status == 0, err
    assert lines(out) == [
        shlex.split(
            "gcloud compute tpus queued-resources create t --node-id=t --zone=europe-west4-b --project=p "
            "--accelerator-type=v5litepod-16 --runtime-version=v2-alpha-tpuv5-lite --spot"
        )
    ]
    _, out, _ = run("tpu.sh", "--dry-run", "install", "t", "z", SALTJAX="saltjax[tpu]==1.0")
    (install,) = lines(out)
    assert install[:7] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "t", "--zone=z"]
    assert install[7] == "--worker=all" and "pip install -q 'saltjax[tpu]==1.0'" in install[8]
    _, out, _ = run("tpu.sh", "--dry-run", "delete", "t", "z")
    assert [line[3:5] for line in lines(out)] == [["tpu-vm", "delete"], ["queued-resources", "delete"]]


def test_a_command_reaches_all_hosts_as_it_was_given():
    for given in (["saltjax adapt m 'r x' --distributed"], ["saltjax", "adapt", "m", "r x", "--distributed"]):
        _, out, _ = run("tpu.sh", "--dry-run", "run", "t", "z", *given)
        (line,) = lines(out)
        assert "--worker=all" in line
        remote = line[-1].removeprefix("--command=")
        assert shlex.split(remote.partition("nohup ")[2].partition(" >")[0]) == shlex.split(
            " ".join(given) if len(given) == 1 else shlex.join(given)
        )


@pytest.mark.parametrize("kind", ["v7-8", "a100"])
def test_an_unknown_tpu_type_is_refused(kind):
    status, out, err = run("tpu.sh", "--dry-run", "create", "t", "z", kind)
    assert status == 2 and out == "" and kind in err
    assert run("tpu.sh", "--dry-run", "create", "t", "z", kind, RUNTIME="some")[0] == 0


def test_a_slurm_job_has_one_process_a_node_and_comes_back_after_a_stop():
    status, out, err = run(
        "slurm.sh", "--dry-run", "2", "8", "saltjax", "adapt", "m", "r", "--text", "a b.txt", PARTITION="gpu"
    )
    assert status == 0, err
    job = out.removeprefix("sbatch <<'JOB'\n").removesuffix("JOB\n")
    options = [line.removeprefix("#SBATCH ") for line in job.splitlines() if line.startswith("#SBATCH")]
    assert {"--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=8", "--requeue", "--partition=gpu"} <= set(options)
    assert r"srun saltjax adapt m r --text a\ b.txt --distributed || status=$?" in job
    assert subprocess.run(["bash", "-n"], input=job, text=True, check=False).returncode == 0


@pytest.mark.parametrize(("ends", "requeued"), [(0, False), (130, True), (2, False)])
def test_only_a_run_that_was_asked_to_stop_is_queued_again(tmp_path, ends, requeued):
    """The job itself, with programs of these names that only note that they were called."""
    _, out, _ = run("slurm.sh", "--dry-run", "1", "1", "saltjax", "adapt", "m", "r")
    for name, code in (("srun", ends), ("scontrol", 0)):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/called\nexit {code}\n')
        (tmp_path / name).chmod(0o755)
    job = out.removeprefix("sbatch <<'JOB'\n").removesuffix("JOB\n")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    done = subprocess.run(["bash"], input=job, text=True, check=False, env=environment)
    called = (tmp_path / "called").read_text().splitlines()
    assert done.returncode == ends
    assert called == ["srun saltjax adapt m r --distributed"] + ["scontrol requeue 7"] * requeued


def test_gpus_of_one_machine_are_one_process():
    status, out, _ = run("gpus.sh", "--dry-run", "saltjax", "adapt", "m", "r x")
    assert status == 0 and lines(out) == [["saltjax", "adapt", "m", "r x"]]


def test_hosts_are_numbered_and_know_the_first():
    status, out, _ = run("gpus.sh", "--dry-run", "--hosts", "a,b,c", "saltjax", "adapt", "m", "r x", PORT="4000")
    assert status == 0
    for index, (host, line) in enumerate(zip("abc", lines(out), strict=True)):
        assert line[:3] == ["ssh", "-tt", host]
        words = shlex.split(line[3])
        assert words[:3] == ["cd", str(SCRIPTS), "&&"]
        assert {f"JAX_PROCESS_ID={index}", "JAX_NUM_PROCESSES=3", "JAX_COORDINATOR_ADDRESS=a:4000"} <= set(words)
        assert words[-5:] == ["saltjax", "adapt", "m", "r x", "--distributed"]
