"""Do scores without training say which initialiser ends with the lowest loss? Measured over all methods.

    python benchmarks/heldout_scores.py WORK --languages de ar vi --steps 60
    python benchmarks/heldout_scores.py WORK --text TEXT_DIR --steps 100       # real text, for example

For each language: `api.inspect` scores every method and measures bits per byte before training; then every method's
model is written, adapted with one setting and measured again. Prints a table, and the rank correlation (Spearman, over
methods) of each score with the bits per byte before and after. WORK keeps what is done: the same command goes on.

TEXT_DIR holds LANGUAGE.aux.txt, LANGUAGE.train.txt and LANGUAGE.valid.txt; without it, the pocket text. Auxiliary
vectors are trained on the first. The models are the pocket ones.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from saltjax import api
from saltjax.pocket.corpus import documents, write_text
from saltjax.pocket.models import LANGUAGES, pocket_llm, pocket_plm
from saltjax.transfer.choose import with_options

METHODS = (
    "mean random gaussian fvt focus focus:neighbours=plm ofa clp clp+ omp knn ridge procrustes salt "
    "salt:neighbours=plm kernel-ridge kernel-ridge:space=both"
).split()
SCORES = ("cosine", "cosine_raw", "r2", "relative_error", "mrr", "hit1", "weighted cosine", "weighted r2")
ADAPT = (
    "seq_len=128 learning_rate=1e-3 warmup_steps=10 weight_decay=0.1 checkpoint_every=0 "
    "mesh.data=1 mesh.fsdp=1 mesh.tensor=1"
).split()


def texts(work: Path, language: str, folder: Path | None) -> dict[str, Path]:
    if folder:
        return {part: folder / f"{language}.{part}.txt" for part in ("aux", "train", "valid")}
    train = write_text(documents(language), work / f"{language}.train.txt")
    return {"aux": train, "train": train, "valid": write_text(documents(language, "valid"), work / "valid.txt")}


def scored(work: Path, language: str, text: dict[str, Path], methods: list[str]) -> dict[str, Any]:
    path = work / "scores.json"
    if not path.exists():
        record = api.inspect(
            pocket_llm(),
            pocket_plm(language),
            aux_text=[text["aux"]],
            scores=True,
            methods=methods,
            text=[text["valid"]],
        )
        path.write_text(json.dumps(record))
    return json.loads(path.read_text())


def adapted(work: Path, language: str, text: dict[str, Path], method: str, size: tuple[int, int], seed: int) -> float:
    """Bits per byte of the held-out text after so many steps of so many sequences."""
    name = method.replace(":", "-").replace("=", "-")
    steps, batch = size
    path = work / f"{name}.{seed}.{steps}x{batch}.json"
    if not path.exists():
        model, run = work / "model", work / "run"
        shutil.rmtree(run, ignore_errors=True)
        base, options = with_options(method)
        api.transfer(
            pocket_llm(),
            pocket_plm(language),
            model,
            aux_text=[text["aux"]],
            method=base,
            options=options,
            seed=seed,
            overwrite=True,
        )
        settings = [f"steps={steps}", f"batch_size={batch}", f"eval_every={steps}", f"seed={seed}", *ADAPT]
        done = api.adapt(model, run, text=[text["train"]], valid=[f"{language}={text['valid']}"], overrides=settings)
        path.write_text(json.dumps(done["valid"][language]))
    return json.loads(path.read_text())


def value(scores: dict[str, Any], name: str) -> float:
    return scores["weighted"][name.split()[1]] if name.startswith("weighted") else scores[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--languages", nargs="+", default=list(LANGUAGES))
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--adapt", nargs="*", help="the methods to adapt, by default all")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--text", type=Path)
    given = parser.parse_args()
    for language in given.languages:
        work = given.work / language
        work.mkdir(parents=True, exist_ok=True)
        text = texts(work, language, given.text)
        record = scored(work, language, text, given.methods)
        chosen = given.methods if given.adapt is None else given.adapt
        print(f"\n## {language}: {record['anchors']} anchors, {record['tokens']['fitted']} new tokens\n")
        print(f"| method | R² | cosine | MRR | length | bits/byte at 0 | at {given.steps} |\n|" + "---|" * 7)
        before, after = {}, {}
        for method, s in record["scores"].items():
            before[method] = record["step0"][method]["bits_per_byte"]
            ends = [
                adapted(work, language, text, method, (given.steps, given.batch), seed)
                for seed in given.seeds
                if method in chosen
            ]
            after |= {method: float(np.mean(ends))} if ends else {}
            end = " ".join(f"{one:.4f}" for one in ends)
            print(
                f"| {method} | {s['r2']:.3f} | {s['cosine']:.3f} | {s['mrr']:.3f} | {s['norm_ratio']:.2f} "
                f"| {before[method]:.3f} | {end} |",
                flush=True,
            )
        print("\n| rank correlation with lower bits per byte | at 0 | " + f"at {given.steps} |\n|---|---|---|")
        for name in SCORES:
            sign = 1 if name == "relative_error" else -1
            found = []
            for ends in (before, after):
                values = [sign * value(record["scores"][method], name) for method in ends]
                found.append(spearmanr(values, list(ends.values())).statistic if len(ends) > 2 else float("nan"))
            print(f"| {name} | {found[0]:.2f} | {found[1]:.2f} |")
        both = [method for method in before if method in after]
        if len(both) > 2:
            rho = spearmanr([before[m] for m in both], [after[m] for m in both]).statistic
            print(f"| bits per byte at 0 | | {rho:.2f} |", flush=True)


if __name__ == "__main__":
    main()
