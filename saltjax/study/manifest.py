"""What every run is made from, to the byte: one file of hashes, the same for the same study, models and data."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from saltjax.errors import UserError
from saltjax.study.design import Judge, Length, Study, Task
from saltjax.study.grid import Run, runs
from saltjax.study.models import Models
from saltjax.study.pools import Key, Pool, Questions
from saltjax.study.rows import Row
from saltjax.study.subsets import digests, ordered

FILE = "manifest.json"


def part(key: Key, seed: int, rows: int) -> str:
    """The name of a subset, which is its file's."""
    return f"{'.'.join(key)}.{seed}.{rows}"


def parts(run: Run, study: Study) -> dict[str, tuple[Key, int]]:
    """{name: (task and language, rows)} of a run; without empty ones."""
    return {part(key, run.seed, rows): (key, rows) for key, rows in run.rows(study).items() if rows}


def orders(study: Study, found: dict[Key, Pool]) -> dict[tuple[Key, int], list[Row]]:
    """The rows of every pool as each seed draws them."""
    return {(key, seed): ordered(pool.rows, seed, *key) for key, pool in found.items() for seed in study.seeds}


def manifest(
    study: Study,
    models: Models,
    found: dict[Key, Pool],
    asked: dict[Key, Questions],
    drawn: dict[tuple[Key, int], list[Row]],
) -> dict[str, Any]:
    """The study, the SHA-256 of its models' files, its data and what was refused of them, every subset with the SHA-256
    of its file, and each run's subsets."""
    grid = runs(study)
    sizes: dict[tuple[Key, int], set[int]] = {}
    for run in grid:
        for key, rows in run.rows(study).items():
            sizes.setdefault((key, run.seed), set()).add(rows)
    subsets: dict[str, dict[str, Any]] = {}
    for (key, seed), wanted in sizes.items():
        hashes = digests(drawn[key, seed], wanted)
        subsets |= {part(key, seed, rows): {"rows": rows, "sha256": hashes[rows]} for rows in wanted if rows}
    return {
        "study": asdict(study),
        "models": models,
        "pools": {
            ".".join(key): {"file": one.file, "sha256": one.sha256, "rows": len(one.rows), "refused": one.refused,
                            "elsewhere": one.elsewhere}
            for key, one in found.items()
        },
        "tests": {
            ".".join(key): {"file": one.file, "sha256": one.sha256, "rows": len(one.rows)}
            for key, one in asked.items()
        },
        "subsets": subsets,
        "runs": {run.name: sorted(parts(run, study)) for run in grid},
    }  # fmt: skip


def as_bytes(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def sha256_of(content: dict[str, Any]) -> str:
    return hashlib.sha256(as_bytes(content)).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises UserError: nothing was planned there."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: no study was planned here; `saltjax study plan STUDY.yaml {folder}`") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / FILE}: cannot be read ({error}); plan the study anew in another folder") from None
    if "models" not in content:
        raise UserError(f"{folder}: planned by an earlier version that did not know models by content; plan anew")
    return content


def planned_study(content: dict[str, Any]) -> Study:
    """The study of a manifest."""
    given = content["study"]
    return Study(
        **given
        | {name: tuple(given[name]) for name in ("seen", "unseen", "budgets", "settings", "seeds")}
        | {
            "tasks": {name: Task(**one) for name, one in given["tasks"].items()},
            "groups": {name: tuple(one) for name, one in given["groups"].items()},
            "lengths": tuple(Length(float(one["number"]), one["unit"]) for one in given["lengths"]),
            "judge": Judge(**given["judge"]) if given["judge"] else None,
        }
    )
