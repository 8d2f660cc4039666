"""GSM8K problems that are the same line by line in English, German and Swahili, for benchmarks/slam_quality.py.

    python scripts/gsm8k_parallel.py DATA DIR [TRAIN TEST]   # by default 1,000 to learn from and 100 held out

DATA is that of gsm8k_tasks.py. Writes DIR/maths.LANGUAGE.train.jsonl and .test.jsonl: the question in that language,
and always the English solution, as a model answers that has learned no other (ours). Problems that lack a
translation or have an untranslated one are left out.
"""

import sys
from pathlib import Path

from gsm8k_tasks import found, solved, write

from saltjax.data.files import lines

LANGUAGES = ("de", "sw")


def problems(data: Path) -> list[dict[str, str]]:
    """{en, de, sw, solution} of each problem that has all, in GSM8K's order."""
    rows = {question: {"en": question, "solution": solution} for question, solution in solved(data).items()}
    for language in LANGUAGES:
        for _, line in lines(found(data, f"sft/gsm8kinstruct_question/en-{language}.tsv")):
            english, other = (" ".join(text.split()) for text in line.split("\t"))
            if english in rows and other and other != english:
                rows[english][language] = other
    return [row for row in rows.values() if all(language in row for language in LANGUAGES)]


def main() -> None:
    if len(sys.argv) not in (3, 5):
        sys.exit(__doc__)
    data, out = map(Path, sys.argv[1:3])
    train, test = map(int, sys.argv[3:5] or (1000, 100))
    out.mkdir(parents=True, exist_ok=True)
    everything = problems(data)
    if len(everything) < train + test:
        sys.exit(f"{data}: {len(everything):,} problems are in all languages, fewer than {train} and {test}")
    for half, rows in (("train", everything[:train]), ("test", everything[-test:])):
        for language in ("en", *LANGUAGES):
            own = [{"prompt": row[language], "completion": row["solution"]} for row in rows]
            write(out / f"maths.{language}.{half}.jsonl", own)


if __name__ == "__main__":
    main()
