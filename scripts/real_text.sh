#!/usr/bin/env bash
# The three commands on real text, for each language: SALT against the Gaussian baseline, against SALT with neighbours
# in the PLM's own space, and against going on with the LLM's own vocabulary.
#
#     scripts/real_text.sh TEXT_DIR WORK de vi
#
# TEXT_DIR holds LANGUAGE.train.txt.xz and LANGUAGE.valid.txt.xz, one document a line. The models are those of
# scripts/make_pocket_models.py, which has seen the first 16 MB of each training text; adaptation takes its last 500
# documents, so that it is new to all of them. Interrupted, the same command goes on where it stopped.
set -euo pipefail
text=$1 work=$2
shift 2
models=$(cd "$(dirname "$0")/.." && pwd)/saltjax/pocket/weights
settings="steps=300 batch_size=16 seq_len=256 learning_rate=1e-3 warmup_steps=20 weight_decay=0.1 eval_every=25 checkpoint_every=100"
mkdir -p "$work"

for language in "$@"; do
  run=$work/$language
  mkdir -p "$run"
  if [ ! -f "$run/valid.txt" ]; then
    xz -dc "$text/$language.train.txt.xz" | awk 'NR <= 900' > "$run/aux.txt"
    xz -dc "$text/$language.train.txt.xz" | tail -n 500 > "$run/train.txt"
    xz -dc "$text/$language.valid.txt.xz" | awk 'NR <= 12' > "$run/valid.txt"
  fi
  [ -d "$run/salt" ] || saltjax transfer "$models/llm" "$models/plm-$language" "$run/salt" --aux-text "$run/aux.txt"
  [ -d "$run/salt-plm" ] || saltjax transfer "$models/llm" "$models/plm-$language" "$run/salt-plm" --neighbours plm
  [ -d "$run/gaussian" ] || saltjax transfer "$models/llm" "$models/plm-$language" "$run/gaussian" --method gaussian
  for init in salt gaussian salt-plm own; do
    start=$run/$init
    [ "$init" != own ] || start=$models/llm
    # shellcheck disable=SC2086
    saltjax adapt "$start" "$run/runs/$init" --text "$run/train.txt" --valid "$language=$run/valid.txt" $settings
  done
  saltjax export "$run/runs/salt" "$run/model" --overwrite
  saltjax evaluate "$run/model" bpb --text "$run/valid.txt" --seq-len 256
  python "$(dirname "$0")/compare_runs.py" "$run/curves.png" "SALT=$run/runs/salt" "Gaussian=$run/runs/gaussian" \
    "SALT, PLM neighbours=$run/runs/salt-plm" "own vocabulary=$run/runs/own"
done
