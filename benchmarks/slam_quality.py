"""SLAM against full fine-tuning, LoRA and QAlign's two stages: what translated questions do for problems by language.

    python scripts/pocket_tasks.py tasks                # word problems of the pocket text in four languages
    python benchmarks/slam_quality.py tasks OUT         # on the pocket LLM; some minutes a seed
    python benchmarks/slam_quality.py FOLDER OUT --model DIR --trainable layers.mlp.up@0,1... --seeds 3 batch_size=32

FOLDER holds maths.LANG.train.jsonl and maths.LANG.test.jsonl, lines of {"prompt", "completion"}; line i is the same
problem in every language. As SLAM and QAlign suppose, the model first learns the English problems; what comes then
never shows a solution in another language. The score is that of the held-out solutions: bits per byte by language.
"""

import argparse
import json
import statistics
from pathlib import Path

from saltjax import api
from saltjax.train import metrics

LANGUAGES = ("en", "de", "ar", "vi")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="saltjax/pocket/weights/llm")
    parser.add_argument("--trainable", default="layers.mlp.up@0+layers.mlp.down@0", help="of SLAM")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--english-epochs", type=int, default=8)
    parser.add_argument("--question-epochs", type=int, default=2)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_intermixed_args()
    common = "batch_size=8 seq_len=256 learning_rate=1e-3 warmup_steps=3 weight_decay=0 template=plain".split()
    common += ["eval_every=0", "checkpoint_every=0", "unroll=true", *args.settings]
    valid = [f"{language}={args.folder}/maths.{language}.test.jsonl" for language in LANGUAGES]
    english, questions = args.folder / "maths.en.train.jsonl", args.out / "questions.jsonl"
    args.out.mkdir(parents=True, exist_ok=True)
    files = [f"{language}={args.folder}/maths.{language}.train.jsonl" for language in LANGUAGES]
    api.layers_questions(questions, files, field="prompt", overwrite=True)

    def run(name: str, model: Path | str, data: Path, epochs: int, seed: int, *settings: str) -> tuple[Path, dict]:
        """(the exported model, its scores). A finished run is not run again."""
        where = args.out / f"{name}-{seed}"
        record = api.finetune(
            model, where, data=[data], valid=valid, overrides=[*common, f"epochs={epochs}", f"seed={seed}", *settings]
        )
        api.export(where, where / "export", overwrite=True)
        return where / "export", record["valid"]

    scores: dict[str, list[dict]] = {}
    for seed in range(args.seeds):
        base, found = run("english", args.model, english, args.english_epochs, seed)
        before = metrics.read(args.out / f"english-{seed}" / "metrics.jsonl")[0]["bits_per_byte"]
        scores.setdefault("the model as it was", []).append(before)
        scores.setdefault("English problems alone", []).append(found)
        for name, spec in (("SLAM", args.trainable), ("full", "full"), ("LoRA", "lora")):
            _, found = run(name, base, questions, args.question_epochs, seed, f"trainable={spec}")
            scores.setdefault(f"+ translated questions, {name}", []).append(found)
        model = args.out / f"full-{seed}" / "export"
        _, found = run("qalign", model, english, args.english_epochs, seed)
        scores.setdefault("+ the same, full, + English problems again (QAlign)", []).append(found)

    print(f"{'bits per byte of held-out solutions':54}" + "".join(f"{language:>14}" for language in LANGUAGES))
    for name, found in scores.items():
        cells = [[one[language] for one in found] for language in LANGUAGES]
        spread = (f" ±{statistics.stdev(cell):.3f}" if len(cell) > 1 else "" for cell in cells)
        texts = (f"{statistics.mean(cell):.3f}{more}" for cell, more in zip(cells, spread, strict=True))
        print(f"{name:54}" + "".join(f"{text:>14}" for text in texts))
    (args.out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
