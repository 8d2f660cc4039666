"""Three tasks in four languages from the pocket text, for configs/study-pocket.yaml.

    python scripts/pocket_tasks.py DIR    # writes DIR/TASK.LANGUAGE.train.jsonl and .test.jsonl

maths    a word problem; the answer is its solution
reading  a passage and a question; the answer is words of the passage
stories  two sentences of a story; the answer is the next one

A document (all questions on one passage, all of a story) is in the same half in all languages.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import saltjax

TEXT = Path(saltjax.__file__).with_name("pocket") / "text"
LANGUAGES = ("en", "de", "ar", "vi")
TESTED = 0.25  # of the documents
Item = tuple[str, dict[str, str], dict[str, str]]  # document, prompts and answers by language


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (TEXT / f"{name}.jsonl").read_bytes().split(b"\n") if line]


def maths() -> Iterator[Item]:
    for row in rows("maths"):
        yield row["id"], row["question"], row["solution"]


def reading() -> Iterator[Item]:
    for row in rows("qa"):
        asked = {language: f"{row['context'][language]}\n{row['question'][language]}" for language in LANGUAGES}
        yield row["context"]["en"], asked, row["answer"]


def stories() -> Iterator[Item]:
    sentences = [*rows("stories"), *rows("tales")]
    for a, b, c in zip(sentences[::3], sentences[1::3], sentences[2::3], strict=False):
        if a["doc"] == b["doc"] == c["doc"]:
            asked = {language: f"{a[language]} {b[language]}" for language in LANGUAGES}
            yield a["doc"], asked, {language: c[language] for language in LANGUAGES}


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for task in (maths, reading, stories):
        for language in LANGUAGES:
            halves: dict[str, list[str]] = {"train": [], "test": []}
            for document, asked, answer in task():
                number = int.from_bytes(hashlib.sha256(document.encode()).digest()[:4], "big") / 2**32
                row = {"prompt": asked[language], "completion": answer[language]}
                halves["test" if number < TESTED else "train"].append(json.dumps(row, ensure_ascii=False))
            for half, lines in halves.items():
                path = folder / f"{task.__name__}.{language}.{half}.jsonl"
                path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
        print(f"{task.__name__}: {len(halves['train'])} to learn from, {len(halves['test'])} to test, a language")


if __name__ == "__main__":
    main()
