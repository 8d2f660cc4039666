#!/usr/bin/env bash
# A run on one machine with several GPUs, or on a few that know each other's addresses.
#
#     scripts/gpus.sh [--dry-run] COMMAND...                          all GPUs of this machine, one process
#     scripts/gpus.sh [--dry-run] --hosts A,B,... COMMAND...          one process on each host, by ssh, from this directory
#
#     scripts/gpus.sh saltjax adapt llama-de runs/llama-de --text de.jsonl --config configs/llama-8b-8xh100.yaml
#
# With --hosts, COMMAND runs in the same directory on every host (a shared disk), --distributed is added, and the first
# host coordinates. The three variables that JAX reads are set here; a run that ends on one host ends on all.
#
# Variables: PORT (of the coordinator, 9876), ACTIVATE (a file to source first). --dry-run prints what would be run.
set -euo pipefail

usage() {
  sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2
  exit 2
}

dry=0 hosts=
while [ $# -gt 0 ]; do
  case $1 in
    --dry-run) dry=1 ;;
    --hosts)
      [ $# -ge 2 ] || usage
      hosts=$2
      shift
      ;;
    -*) usage ;;
    *) break ;;
  esac
  shift
done
[ $# -ge 1 ] || usage

run() {
  if [ "$dry" = 1 ]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

# XLA may take most of each GPU from the start, so that memory cannot fragment.
export XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}

if [ -z "$hosts" ]; then
  if [ -n "${ACTIVATE:-}" ]; then
    # shellcheck disable=SC1090
    [ "$dry" = 1 ] || source "$ACTIVATE"
  fi
  run "$@"
  exit
fi

IFS=, read -r -a all <<<"$hosts"
printf -v command '%q ' "$@"
printf -v here '%q' "$PWD"
started=()
for index in "${!all[@]}"; do
  line="cd $here && ${ACTIVATE:+source $(printf '%q' "$ACTIVATE") && }"
  line+="XLA_PYTHON_CLIENT_MEM_FRACTION=$XLA_PYTHON_CLIENT_MEM_FRACTION JAX_COORDINATOR_ADDRESS=${all[0]}:${PORT:-9876} "
  line+="JAX_NUM_PROCESSES=${#all[@]} JAX_PROCESS_ID=$index ${command}--distributed"
  if [ "$dry" = 1 ]; then
    run ssh -tt "${all[$index]}" "$line"
  else
    ssh -tt "${all[$index]}" "$line" &
    started+=($!)
  fi
done
status=0
for one in "${started[@]}"; do
  wait "$one" || status=$?
done
exit "$status"
