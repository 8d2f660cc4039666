"""What fits where: the real train step of `saltjax adapt`, compiled ahead of time for real TPU slices.

    pip install 'saltjax[tpu]'      # libtpu's compiler runs on any machine; no TPU is needed, and none is used
    python benchmarks/tpu_fit.py [--models llama-3.2-1b gemma-2b] [--slices v5e-16 v6e-8] [--length 2048] >> table.md

One line of a Markdown table for each model and slice, with the smallest change of the settings that makes it fit: they
are tried in the order of `ATTEMPTS`. The vocabularies are those of models after a transfer (Gemma: before it, V=256k).
Each attempt is compiled in a process of its own, about one to five minutes on two cores.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "max_position_embeddings": 8192}
MODELS: dict[str, dict] = {
    "llama-3.2-1b": LLAMA | {
        "vocab_size": 32000, "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 8192, "tie_word_embeddings": True,
    },
    "gemma-2b": {
        "architectures": ["GemmaForCausalLM"], "model_type": "gemma", "vocab_size": 256000, "hidden_size": 2048,
        "num_hidden_layers": 18, "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256,
        "intermediate_size": 16384, "max_position_embeddings": 8192, "hidden_activation": "gelu_pytorch_tanh",
    },
    "llama-3-8b": LLAMA | {
        "vocab_size": 128256, "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "intermediate_size": 14336,
    },
    "llama-3-70b": LLAMA | {
        "vocab_size": 128256, "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
        "num_key_value_heads": 8, "intermediate_size": 28672,
    },
}  # fmt: skip
SLICES = {"v5e-16": "v5e:4x4", "v5e-256": "v5e:16x16", "v5p-8": "v5p:2x2x1", "v6e-8": "v6e:2x4", "v6e-64": "v6e:8x8"}
ATTEMPTS = (
    "remat=dots",
    "remat=block",
    "remat=block accumulate=2",
    "remat=block moments_dtype=bfloat16",
    "remat=block optimizer=adafactor",
    "remat=block trainable=lora",
)
ROWS = 2  # sequences a chip and a step, before accumulation
GIB = 2**30


def planned(model: str, where: str, settings: list[str]) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(MODELS[model]))
        command = [sys.executable, "-m", "saltjax", "adapt", folder, "RUN", *settings, "--plan", where, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{model} on {where} {' '.join(settings)}: {done.stderr[-1000:]}")
    return json.loads(done.stdout)


def line(model: str, name: str, attempt: str, record: dict) -> str:
    memory, estimate = record["bytes_per_chip"], record["estimate"]
    mesh = " x ".join(str(size) for size in record["mesh"].values())
    cells = [model, name, mesh, attempt, "yes" if record["fits"] else "no"]
    cells += [f"{memory[key] / GIB:.1f}" for key in ("parameters", "optimizer", "temporaries", "total", "limit")]
    cells += [
        f"{record['flops']['chip'] / 1e12:.0f}",
        f"{estimate['sent_per_chip'] / GIB:.1f}" if record["collectives"] else "",
    ]
    cells += [f"{estimate['step_seconds']:.2f}", f"{estimate['link_seconds']:.2f}" if record["collectives"] else ""]
    cells += [f"{estimate['tokens_per_second']:,.0f}", "; ".join(record["suspicious"]) or "none"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--slices", nargs="+", default=list(SLICES), choices=list(SLICES))
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--attempts", nargs="+", default=ATTEMPTS, help="settings to try, one text each")
    args = parser.parse_args()
    head = (
        "model | slice | mesh | settings | fits | parameters GiB | optimizer | temporaries | total | of | "
        "TFLOP a chip | GiB sent | step s at 40 % MFU | links s | tokens/s | suspicious"
    )
    print(f"| {head} |\n|{'---|' * (head.count('|') + 1)}", flush=True)
    for model in args.models:
        for name in args.slices:
            chips = int(name.partition("-")[2]) // (2 if name.startswith("v5p") else 1)
            for attempt in args.attempts:
                settings = [f"batch_size={ROWS * chips}", f"seq_len={args.length}", *attempt.split()]
                record = planned(model, SLICES[name], settings)
                print(line(model, name, attempt, record), flush=True)
                if record["fits"]:
                    break


if __name__ == "__main__":
    main()
