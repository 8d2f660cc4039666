"""evaluate: how good a model is, on tasks; compare: whether two results differ."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from saltjax.errors import UserError
from saltjax.evaluate.bits_per_byte import bits_per_byte
from saltjax.evaluate.compare import compared
from saltjax.evaluate.measure import Subject, measure
from saltjax.evaluate.sets import Sets
from saltjax.evaluate.shelf import SETTINGS, Shelf, file_of, opened
from saltjax.evaluate.task import limited, with_shots
from saltjax.evaluate.tasks import known, make
from saltjax.hub.locate import locate
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.models.load import load_model
from saltjax.train.config import MeshConfig
from saltjax.train.mesh import batch_sharding, make_mesh
from saltjax.train.sharding import param_shardings

Progress = Callable[[str, int, int], None]  # task, questions answered, of so many
SAMPLE = 1 << 16  # bytes read at each of 16 places of a weights file, to know it again


def evaluate(
    model: str | Path,
    tasks: Sequence[str] = ("bpb",),
    *,
    text: Sequence[str | Path] = (),
    data: str | Path | None = None,
    shots: int = 0,
    limit: int | None = None,
    out: str | Path | None = None,
    seq_len: int | None = None,
    dtype: str | None = None,
    batch_size: int = 8,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score MODEL (a directory or hub id) on tasks: `bpb`, bits per byte of each file of `text`, and those of
    `evaluate/tasks/`, `NAME` or `NAME:LANG`, from the folder `data`, else from TFDS or the hub.

    `shots` solved examples stand before every question; `limit` takes the first questions of each task. `out` keeps
    every answer, and what is there already is not computed again. `seq_len`: for bpb by default the smaller of 1024 and
    the model's positions, for tasks the model's positions. `dtype` of the computation: by default float32 on a CPU,
    bfloat16 elsewhere. On several accelerators the model and the questions are shared out over all of them.

    Returns model, seq_len, dtype, results{TASK{METRIC..., n, interval, ...}}; bpb is named `bpb:FILE` where there are
    several files. Raises UserError.
    """
    _check(tasks, text, shots, {"--limit": limit, "--seq-len": seq_len, "--batch-size": batch_size})
    made = [
        with_shots(limited(make(word, Sets(Path(data).expanduser() if data else None)), limit), shots)
        for word in _named(tasks)
    ]
    directory = locate(model)
    compute = dtype or ("float32" if jax.default_backend() == "cpu" else "bfloat16")
    if compute not in ("float32", "bfloat16"):
        raise UserError(f"--dtype {compute} is not known; there are float32 and bfloat16")
    folder = opened(Path(out), _settings(model, directory, compute, seq_len, shots)) if out else None
    shelves = [Shelf(file_of(folder, task.name) if folder else None, task.questions) for task in made]
    tokenizer = load_tokenizer(directory)
    mesh = make_mesh(MeshConfig()) if jax.device_count() > 1 and jax.default_backend() != "cpu" else None
    loaded = load_model(directory, partial(param_shardings, mesh=mesh) if mesh else None)
    longest = min(seq_len or loaded.config.max_positions, loaded.config.max_positions)
    length = seq_len or min(1024, longest)

    results = {}
    for path in text if "bpb" in tasks else ():
        found = bits_per_byte(loaded, tokenizer, path, length, batch_size, jnp.dtype(compute))
        results["bpb" if len(text) == 1 else f"bpb:{path}"] = {
            "bits_per_byte": found.bits_per_byte,
            "interval": found.interval,
            "bytes": found.bytes,
            "n": found.documents,
            "tokens": found.tokens,
            "unknown": found.unknown,
        }
    subject = Subject(
        loaded,
        tokenizer,
        longest,
        jnp.dtype(compute),
        batch_size,
        batch_sharding(mesh) if mesh else None,
        end_ids(directory, tokenizer),
    )
    for task, shelf in zip(made, shelves, strict=True):
        tell = partial(progress, task.name) if progress else lambda done, of: None
        results[task.name] = measure(task, subject, shelf, tell)
    record = {"model": str(model), "seq_len": length, "dtype": compute, "shots": shots, "results": results}
    if folder:
        (folder / "results.json").write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return record


def compare(a: str | Path, b: str | Path, tasks: Sequence[str] = (), **how: Any) -> dict[str, Any]:
    """Whether B answers differently from A: two folders made by `evaluate(out=...)`, or two models and `tasks`.

    Two models are evaluated first, with the arguments of `evaluate`; `out` then gets the folders `a` and `b`.
    Returns a, b, results{TASK{METRIC{a, b, difference, interval, p, test}, n}}. Raises UserError.
    """
    if not tasks and all((Path(one) / SETTINGS).is_file() for one in (a, b)):
        return {"a": str(a), "b": str(b), "results": compared(Path(a), Path(b))}
    if not tasks:
        wrong = next(one for one in (a, b) if not (Path(one) / SETTINGS).is_file())
        raise UserError(f"{wrong}: not a result of evaluate (made with --out); to compare two models name tasks too")
    if "bpb" in tasks:
        raise UserError("bpb cannot be compared question by question; look at the two intervals of evaluate")
    out = how.pop("out", None)
    with tempfile.TemporaryDirectory() as room:
        folders = [Path(out or room) / name for name in ("a", "b")]
        for model, folder in zip((a, b), folders, strict=True):
            evaluate(model, tasks, out=folder, **how)
        return {"a": str(a), "b": str(b), "results": compared(*folders)}


def _named(tasks: Sequence[str]) -> list[str]:
    """The tasks that have questions, each once."""
    return [word for word in dict.fromkeys(tasks) if word != "bpb"]


def _check(tasks: Sequence[str], text: Sequence[str | Path], shots: int, numbers: Mapping[str, int | None]) -> None:
    """What can be said before anything is read."""
    if not tasks:
        raise UserError("no task was named; `saltjax evaluate MODEL bpb --text FILE` is the simplest")
    for word in _named(tasks):
        known(word)
    if "bpb" in tasks and not text:
        raise UserError("the task bpb needs text: --text FILE")
    if shots < 0:
        raise UserError(f"--shots {shots} must be 0 or more")
    if wrong := [f"{name} {number}" for name, number in numbers.items() if number is not None and number < 1]:
        raise UserError(f"{', '.join(wrong)} must be at least 1")


def _settings(model: str | Path, directory: Path, dtype: str, seq_len: int | None, shots: int) -> dict[str, Any]:
    """What answers depend on, besides the questions: found again, they are the same answers."""
    return {"model": str(model), "weights": _identity(directory), "dtype": dtype, "seq_len": seq_len, "shots": shots}


def _identity(directory: Path) -> str:
    """A digest of the config, the tokenizer, and of samples of each weights file with its size."""
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.suffix not in (".json", ".safetensors", ".bin", ".model", ".txt"):
            continue
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            for place in range(16):
                file.seek(max(0, size - SAMPLE) * place // 15)
                digest.update(file.read(SAMPLE))
    return digest.hexdigest()[:32]


def end_ids(directory: Path, tokenizer: Any) -> list[int]:
    """The ids that end a text: the tokenizer's EOS and those of generation_config.json."""
    file = directory / "generation_config.json"
    named = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id") if file.is_file() else None
    ids = [tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    return sorted({one for one in ids if one is not None})
