#!/usr/bin/env bash
# A run on Google Cloud TPUs: one host or a pod slice, on demand or spot, from creation to deletion. docs/tpu.md has the
# whole way.
#
#     scripts/tpu.sh [--dry-run] create  NAME ZONE TYPE [--spot]     TYPE: v5litepod-16, v5p-8, v6e-8, ...
#     scripts/tpu.sh [--dry-run] wait    NAME ZONE                   until the queued resource is ACTIVE
#     scripts/tpu.sh [--dry-run] install NAME ZONE                   saltjax on all hosts
#     scripts/tpu.sh [--dry-run] copy    NAME ZONE gs://FROM TO      from Cloud Storage to the disks of all hosts
#     scripts/tpu.sh [--dry-run] run     NAME ZONE COMMAND...        COMMAND on all hosts at once, its output in ~/saltjax.log
#     scripts/tpu.sh [--dry-run] watch   NAME ZONE                   the end of that log, of the first host
#     scripts/tpu.sh [--dry-run] stop    NAME ZONE                   SIGTERM: the run saves and ends
#     scripts/tpu.sh [--dry-run] delete  NAME ZONE                   the TPU and its queued resource
#
# Several hosts are one run: give `saltjax adapt` the flag --distributed; the model lies on every host (copy), text and
# checkpoints in a bucket, RUN on the first host:
#
#     scripts/tpu.sh copy t europe-west4-b gs://bucket/llama-de .
#     scripts/tpu.sh run t europe-west4-b 'saltjax adapt llama-de run --text gs://bucket/de.jsonl --distributed \
#       checkpoints=gs://bucket/run --config llama-8b-v5e-16.yaml'
#
# Variables: RUNTIME (the TPU software version; found from TYPE), SALTJAX (what pip installs), PROJECT (gcloud's default).
# --dry-run prints the commands and runs none. Needs gcloud, logged in.
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
action=$1 name=$2 zone=$3
shift 3
where=(--zone="$zone")
[ -z "${PROJECT:-}" ] || where+=(--project="$PROJECT")
saltjax=${SALTJAX:-saltjax[tpu,gcs]}

run() {
  if [ "$dry" = 1 ]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

# The software that a TPU VM boots with: cloud.google.com/tpu/docs/runtimes
runtime() {
  case $1 in
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    *)
      echo "tpu.sh: unknown TYPE $1; give v5litepod-N, v5p-N or v6e-N, or set RUNTIME" >&2
      exit 2
      ;;
  esac
}

# A command on all hosts at once.
everywhere() {
  run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=all --command="$1"
}

case $action in
  create)
    [ $# -ge 1 ] || usage
    type=$1
    shift
    version=${RUNTIME:-$(runtime "$type")}
    run gcloud compute tpus queued-resources create "$name" --node-id="$name" "${where[@]}" \
      --accelerator-type="$type" --runtime-version="$version" "$@"
    ;;
  wait)
    state=(gcloud compute tpus queued-resources describe "$name" "${where[@]}" '--format=value(state.state)')
    if [ "$dry" = 1 ]; then
      run "${state[@]}"
    else
      until [ "$("${state[@]}")" = ACTIVE ]; do
        case $("${state[@]}") in
          FAILED | SUSPENDED)
            echo "tpu.sh: $name will not come (preempted or refused); delete it and create it again" >&2
            exit 1
            ;;
        esac
        sleep 30
      done
    fi
    ;;
  install)
    everywhere "python3 -m venv ~/saltjax-env && ~/saltjax-env/bin/pip install -q '$saltjax'"
    ;;
  copy)
    [ $# -eq 2 ] || usage
    everywhere "gcloud storage cp -r $(printf '%q' "$1") $(printf '%q' "$2")"
    ;;
  run)
    [ $# -ge 1 ] || usage
    command=$1
    [ $# -eq 1 ] || printf -v command '%q ' "$@"
    everywhere "export PATH=\$HOME/saltjax-env/bin:\$PATH; nohup $command > ~/saltjax.log 2>&1 & echo \$! > ~/saltjax.pid"
    ;;
  watch)
    run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=0 --command="tail -n 40 -F ~/saltjax.log"
    ;;
  stop)
    everywhere "kill \$(cat ~/saltjax.pid)"
    ;;
  delete)
    run gcloud compute tpus tpu-vm delete "$name" "${where[@]}" --quiet
    run gcloud compute tpus queued-resources delete "$name" "${where[@]}" --quiet --force
    ;;
  *) usage ;;
esac
