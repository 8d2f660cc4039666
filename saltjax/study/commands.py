"""Every run as one ordinary command, and files that share them out: a SLURM array, a list for TPU VMs."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from saltjax.study.grid import Run


def command(out: Path, run: Run) -> str:
    return shlex.join(["saltjax", "study", "run", str(out), "--only", run.name])


def listed(out: Path, runs: Sequence[Run]) -> str:
    """One command a line."""
    return "".join(f"{command(out, run)}\n" for run in runs)


def slurm(out: Path, runs: Sequence[Run], name: str, hours: int, at_once: int) -> str:
    """A job array: one task a run, so many at once; on a signal or preemption a run saves and is queued again."""
    return f"""#!/usr/bin/env bash
# {len(runs)} runs of the study {name}: sbatch THIS FILE. OUT must be seen by all nodes. #SBATCH --partition, --account
# and what activates your environment belong below.
#SBATCH --job-name={name}
#SBATCH --array=1-{len(runs)}%{at_once}
#SBATCH --ntasks=1
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --time={hours}:00:00
#SBATCH --output={name}-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@300
set -euo pipefail
runs=({" ".join(run.name for run in runs)})
status=0
srun saltjax study run {shlex.quote(str(out))} --only "${{runs[$SLURM_ARRAY_TASK_ID - 1]}}" || status=$?
# 130: asked to stop, and saved. Back into the queue; the run goes on from there.
[ "$status" != 130 ] || scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
exit "$status"
"""


def for_vms(out: Path, runs: Sequence[Run], vms: Sequence[str], zone: str) -> str:
    """A script for machines that share nothing but OUT (a mounted bucket or disk): each gets every k-th run."""
    lines = ["#!/usr/bin/env bash", f"# {len(runs)} runs over {len(vms)} TPU VMs; what stopped goes on if run again.",
             "set -euo pipefail"]  # fmt: skip
    for number, vm in enumerate(vms):
        mine = [run.name for run in runs[number :: len(vms)]]
        if mine:
            only = " ".join(f"--only {name}" for name in mine)
            there = f"nohup saltjax study run {shlex.quote(str(out))} {only} >study.log 2>&1 &"
            lines.append(f"gcloud compute tpus tpu-vm ssh {vm} --zone={zone} --command={shlex.quote(there)}")
    return "\n".join(lines) + "\n"
