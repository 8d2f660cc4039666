"""A study of a tiny model and a few rows, for the tests of studies."""

import json
from pathlib import Path

import yaml
import zoo

LANGUAGES = ("en", "de", "ar", "vi")
SETTINGS = {
    "template": "plain",
    "batch_size": 2,
    "seq_len": 96,
    "learning_rate": 1e-3,
    "warmup_steps": 1,
    "checkpoint_every": 1,
    "log_every": 1,
    "compute_dtype": "float32",
    "mesh": {"data": 1, "fsdp": 1, "tensor": 1},
}


def rows(language: str, count: int, start: int = 0) -> list[dict]:
    """The first words of sentences that follow one another in the pocket text."""
    sentences = [" ".join(one.split()[:4]) for one in zoo.sentences(language, 400)[2 * start :]]
    return [{"prompt": sentences[2 * i], "completion": sentences[2 * i + 1]} for i in range(count)]


def write(path: Path, content: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content), encoding="utf-8")
    return path


def write_data(folder: Path, train: int = 16, test: int = 2) -> None:
    for language in LANGUAGES:
        write(folder / f"next.{language}.train.jsonl", rows(language, train))
        write(folder / f"next.{language}.test.jsonl", rows(language, test, start=100))
        backwards = [
            {"prompt": row["completion"], "completion": row["prompt"]} for row in rows(language, train, start=40)
        ]
        write(folder / f"before.{language}.train.jsonl", backwards)
        write(folder / f"before.{language}.test.jsonl", rows(language, test, start=120))


def content(folder: Path, model: Path | str = "model", **changes) -> dict:
    def task(name: str, metric: str) -> dict:
        return {
            "train": f"{folder}/{name}.{{language}}.train.jsonl",
            "test": f"{folder}/{name}.{{language}}.test.jsonl",
            "metric": metric,
            "max_new": 4,
        }

    return {
        "models": {"tiny": str(model)},
        "tasks": {"next": task("next", "chrf"), "before": task("before", "exact")},
        "languages": {"core": "en", "core_rows": 4, "seen": ["de", "ar"], "unseen": ["vi"]},
        "groups": {"latin": ["de"], "mixed": ["de", "ar"]},
        "budgets": [0, 4, 8],
        "settings": ["single", "multi"],
        "train_for": ["2 steps"],
        "seeds": [0, 1],
        "finetune": SETTINGS,
    } | changes


def write_study(path: Path, given: dict) -> Path:
    path.write_text(yaml.safe_dump(given, sort_keys=False), encoding="utf-8")
    return path
