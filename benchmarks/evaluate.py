"""Ranked choices: ours and lm-evaluation-harness with the same exported model, questions and cores.

    python benchmarks/evaluate.py --data DIR                 # 4 layers of 256, 32,000 tokens, 200 questions a task
    python benchmarks/evaluate.py --data DIR --model MODEL --limit 500 --repeats 3 xnli:de m_arc:de

Needs the extra `eval-parity`. The default model is a random Llama with the pocket model's tokenizer. Both sides have
the model loaded and compute in float32; a run is everything from the questions' text to the scores. Runs are
interleaved in one process; lm-evaluation-harness runs with each of `--their-batch` and its best median counts. The
first run of ours also compiles its programs. `same` is the largest difference of the log-likelihoods.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import jax.numpy as jnp
import numpy as np
from lm_eval_side import Harness
from transformers import LlamaConfig

from saltjax.evaluate.loglikelihood import loglikelihoods
from saltjax.evaluate.sets import Sets
from saltjax.evaluate.task import limited, with_shots
from saltjax.evaluate.tasks import make
from saltjax.evaluate.trees import pairs
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.models import family_of, load_model, random_model, write_model

POCKET = Path(__file__).parents[1] / "saltjax/pocket/weights/llm"
TASKS = ["xnli:de", "m_arc:de", "m_mmlu:de", "m_mmlu:de+3", "m_truthfulqa:de"]


def random_llama(directory: Path, layers: int, hidden: int, vocab: int) -> None:
    hf = LlamaConfig(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=hidden * 11 // 4, num_hidden_layers=layers,
        num_attention_heads=hidden // 32, num_key_value_heads=hidden // 64, max_position_embeddings=2048,
        dtype="float32", bos_token_id=0, eos_token_id=1, pad_token_id=None, architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    hf.save_pretrained(directory)
    model = random_model(family_of(hf).decoder_config(hf), 0)
    write_model(directory, model.config, model.params, model.dtypes)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(POCKET / name, directory / name)


def timed(run: Callable[[], list[list[float]]]) -> tuple[float, float, list[list[float]]]:
    """(wall seconds, CPU seconds, scores)"""
    wall, cpu = time.perf_counter(), time.process_time()
    found = run()
    return time.perf_counter() - wall, time.process_time() - cpu, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS, help="NAME:LANG, or NAME:LANG+SHOTS")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    for name, value in (("layers", 4), ("hidden", 256), ("vocab", 32000), ("limit", 200), ("repeats", 3), ("batch", 8)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--their-batch", type=int, nargs="+", default=[4, 16, 64])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        if not options.model:
            random_llama(Path(room), options.layers, options.hidden, options.vocab)
        directory = options.model or Path(room)
        model, tokenizer = load_model(directory), load_tokenizer(directory)
        names = list(dict.fromkeys(word.partition("+")[0] for word in options.tasks))
        theirs = {size: Harness(directory, options.data, names, size) for size in options.their_batch}
    sets = Sets(options.data)

    def ours(name: str, shots: int) -> list[list[float]]:
        task = with_shots(limited(make(name, sets), options.limit), shots)
        found = pairs(tokenizer, task.questions, model.config.max_positions)
        done = loglikelihoods(model, found.pairs, dtype=jnp.float32, batch_size=options.batch)
        return [values for _, values in sorted(done)]

    print(f"{'task':18} {'first':>8} {'ours':>9} {'theirs':>9} {'ratio':>6} {'CPU ratio':>9}  batch  same")
    for word in options.tasks:
        name, _, shots = word.partition("+")
        first, _, scores = timed(lambda: ours(name, int(shots or 0)))  # noqa: B023
        mine: list[tuple[float, float]] = []
        other: dict[int, list[tuple[float, float]]] = {size: [] for size in theirs}
        for _ in range(options.repeats):
            mine.append(timed(lambda: ours(name, int(shots or 0)))[:2])  # noqa: B023
            for size, harness in theirs.items():
                run = timed(lambda: harness.scores(name, options.limit, int(shots or 0)))  # noqa: B023
                other[size].append(run[:2])
                reference = run[2]
        wall, cpu = (statistics.median(column) for column in zip(*mine, strict=True))
        best = min(other, key=lambda size: statistics.median(run[0] for run in other[size]))
        their_wall, their_cpu = (statistics.median(column) for column in zip(*other[best], strict=True))
        apart = "-" if "truthful" in word else f"{np.abs(np.concatenate(scores) - np.concatenate(reference)).max():.1e}"
        rate = options.limit / wall, options.limit / their_wall
        print(
            f"{word:18} {first:6.1f} s {rate[0]:7.1f}/s {rate[1]:7.1f}/s {their_wall / wall:6.2f} "
            f"{their_cpu / cpu:9.2f}  {best:5} {apart}",
            flush=True,
        )


if __name__ == "__main__":
    main()
