#!/usr/bin/env bash
# A run on several nodes with GPUs under SLURM: one process a node, which has all of the node's GPUs.
#
#     scripts/slurm.sh [--dry-run] NODES GPUS COMMAND...
#
#     scripts/slurm.sh 2 8 saltjax adapt llama-de runs/llama-de --text de.jsonl --config configs/llama-8b-8xh100.yaml
#
# COMMAND is a `saltjax adapt` without --distributed, which is added; its paths must be seen by all nodes. JAX finds the
# other processes from SLURM's own variables. Ten minutes before its time is up SLURM sends SIGTERM, the run saves, and
# the job is queued again; the same command resumes it. So does a preempted one.
#
# Variables: PARTITION, ACCOUNT, HOURS (24), CPUS (a node, 32), ACTIVATE (a file to source on every node, such as
# saltjax-env/bin/activate). --dry-run prints the job and submits nothing.
set -euo pipefail

usage() {
  sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2
  exit 2
}

dry=0
if [ "${1:-}" = --dry-run ]; then
  dry=1
  shift
fi
[ $# -ge 3 ] || usage
nodes=$1 gpus=$2
shift 2
printf -v command '%q ' "$@"

job=$(
  cat <<JOB
#!/usr/bin/env bash
#SBATCH --job-name=saltjax
#SBATCH --nodes=$nodes
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=$gpus
#SBATCH --cpus-per-task=${CPUS:-32}
#SBATCH --time=${HOURS:-24}:00:00
#SBATCH --output=saltjax-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@600
${PARTITION:+#SBATCH --partition=$PARTITION
}${ACCOUNT:+#SBATCH --account=$ACCOUNT
}set -euo pipefail
${ACTIVATE:+source "$ACTIVATE"
}status=0
srun $command--distributed || status=\$?
# 130: asked to stop, and saved. Back into the queue; the run goes on from there.
[ "\$status" != 130 ] || scontrol requeue "\$SLURM_JOB_ID"
exit "\$status"
JOB
)

if [ "$dry" = 1 ]; then
  echo "sbatch <<'JOB'"
  printf '%s\nJOB\n' "$job"
else
  sbatch <<<"$job"
fi
