"""SLAM against full fine-tuning, LoRA and QAlign's two stages: what translated questions do for problems by language.

    python scripts/pocket_tasks.py tasks                # word problems of the pocket text in four languages
    python benchmarks/slam_quality.py tasks OUT         # on the pocket LLM; some minutes a seed
    python scripts/gsm8k_parallel.py DATA gsm8k         # GSM8K in English, German and Swahili
    python benchmarks/slam_quality.py gsm8k OUT --seeds 1 --english-epochs 3 --question-epochs 1 seq_len=512
    python benchmarks/slam_quality.py FOLDER OUT --model DIR --trainable layers.mlp.up@0,1... --seeds 3 batch_size=32

FOLDER holds maths.LANG.train.jsonl and maths.LANG.test.jsonl, lines of {"prompt", "completion"}, of English and others;
line i is the same problem in every language. As SLAM and QAlign suppose, the model first learns the English problems;
what comes then never shows a solution in another language. The scores are bits per byte, by language, of the held-out
solutions (column `de`) and of the held-out questions put into English, which is what is taught (column `de-en`).
QAlign learns the English problems twice, so they are also learned twice with no questions in between (ours).
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from saltjax import api
from saltjax.pocket.models import pocket_llm
from saltjax.train import metrics

ENGLISH = "en"


def languages_of(folder: Path) -> list[str]:
    """English and the others."""
    found = sorted(path.name.split(".")[1] for path in folder.glob("maths.*.train.jsonl"))
    if ENGLISH not in found or len(found) < 2:
        sys.exit(f"{folder}: expected maths.{ENGLISH}.train.jsonl, those of other languages, and their .test.jsonl")
    return [ENGLISH, *(language for language in found if language != ENGLISH)]


def written_questions(args: argparse.Namespace, languages: list[str]) -> tuple[Path, list[str]]:
    """The translated questions to learn, and those held out, by language."""
    others, files = languages[1:], {}
    for half in ("train", "test"):
        files[half] = {language: f"{language}={args.folder}/maths.{language}.{half}.jsonl" for language in languages}
    learned = args.out / "questions.jsonl"
    api.layers_questions(learned, list(files["train"].values()), field="prompt", overwrite=True)
    held = {language: args.out / f"questions.{language}.test.jsonl" for language in others}
    for language, path in held.items():
        both = [files["test"][ENGLISH], files["test"][language]]
        api.layers_questions(path, both, field="prompt", overwrite=True)
    return learned, [*files["test"].values(), *(f"{language}-{ENGLISH}={path}" for language, path in held.items())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default=str(pocket_llm()))
    parser.add_argument("--trainable", default="layers.mlp.up@0+layers.mlp.down@0", help="of SLAM")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--english-epochs", type=int, default=8)
    parser.add_argument("--question-epochs", type=int, default=2)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_intermixed_args()
    common = "batch_size=8 seq_len=256 learning_rate=1e-3 warmup_steps=3 weight_decay=0 template=plain".split()
    common += ["eval_every=0", "checkpoint_every=0", "unroll=true", *args.settings]
    args.out.mkdir(parents=True, exist_ok=True)
    english = args.folder / f"maths.{ENGLISH}.train.jsonl"
    questions, valid = written_questions(args, languages_of(args.folder))
    columns = [one.partition("=")[0] for one in valid]

    def run(name: str, model: Path | str, data: Path, epochs: int, seed: int, *settings: str) -> tuple[Path, dict]:
        """(the exported model, its scores). A finished run is not run again."""
        where = args.out / f"{name}-{seed}"
        record = api.finetune(
            model, where, data=[data], valid=valid, overrides=[*common, f"epochs={epochs}", f"seed={seed}", *settings]
        )
        if record["interrupted"]:
            sys.exit("interrupted; the same command goes on")
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
        _, found = run("again", base, english, args.english_epochs, seed)
        scores.setdefault("English problems alone, twice (QAlign's control)", []).append(found)

    print(f"{'bits per byte of what is held out':54}" + "".join(f"{column:>14}" for column in columns))
    for name, found in scores.items():
        cells = [[one[column] for one in found] for column in columns]
        spread = (f" ±{statistics.stdev(cell):.3f}" if len(cell) > 1 else "" for cell in cells)
        texts = (f"{statistics.mean(cell):.3f}{more}" for cell, more in zip(cells, spread, strict=True))
        print(f"{name:54}" + "".join(f"{text:>14}" for text in texts))
    (args.out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
