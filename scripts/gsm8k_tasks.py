"""GSM8K in English, German and Swahili for configs/study-gsm8k.yaml: questions in each language, solutions in English.

    python scripts/gsm8k_tasks.py DATA DIR    # writes DIR/gsm8k.LANGUAGE.train.jsonl and .test.jsonl

DATA holds sft/gsm8k/train.jsonl, sft/gsm8kinstruct_question/en-{de,sw}.tsv (English, tab, translation) and
eval/mgsm/mgsm_{en,de,sw}.tsv (question, tab, number), packed or not. A translated question gets the solution of its
English one; the calculator's notes (<<...>>) are taken out.
"""

import json
import re
import sys
from pathlib import Path

from saltjax.data.files import lines


def found(folder: Path, name: str) -> Path:
    for packing in ("", ".xz", ".gz", ".zst"):
        if (folder / (name + packing)).is_file():
            return folder / (name + packing)
    sys.exit(f"{folder / name} does not exist")


def solved(data: Path) -> dict[str, str]:
    """{English question: solution} of the training set."""
    rows = [json.loads(line) for _, line in lines(found(data, "sft/gsm8k/train.jsonl")) if line]
    return {" ".join(row["question"].split()): re.sub("<<.*?>>", "", row["answer"]) for row in rows}


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="\n")
    print(f"{path}: {len(rows):,} rows")


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    data, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    solutions = solved(data)
    write(out / "gsm8k.en.train.jsonl", [{"prompt": q, "completion": a} for q, a in solutions.items()])
    for language in ("de", "sw"):
        pairs = [line.split("\t") for _, line in lines(found(data, f"sft/gsm8kinstruct_question/en-{language}.tsv"))]
        known = [(other, solutions.get(" ".join(one.split()))) for one, other in pairs]
        rows = [{"prompt": question, "completion": solution} for question, solution in known if solution]
        write(out / f"gsm8k.{language}.train.jsonl", rows)
    for language in ("en", "de", "sw"):
        asked = [line.split("\t") for _, line in lines(found(data, f"eval/mgsm/mgsm_{language}.tsv")) if line]
        rows = [{"prompt": question, "completion": number} for question, number in asked]
        write(out / f"gsm8k.{language}.test.jsonl", rows)


if __name__ == "__main__":
    main()
