"""Runs, one after another, until all have a result: what is done is never repeated, what fails is told, none is lost.

OUT/results/RUN.json   a finished run's record: appears whole or not at all
OUT/runs/RUN/          what a run has: log.jsonl (started, failed and why), lock, its training as long as it is needed,
                       trained.json, its answers
"""

import fcntl
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from saltjax.errors import UserError
from saltjax.study.grid import Run

TRIES = 2  # of a run, each time that the study is run

Record = dict[str, Any]


class Outcome(NamedTuple):
    """Names of runs: with a result (now and before), failed now, and those that another program is at."""

    finished: list[str]
    failed: dict[str, str]  # and why
    skipped: list[str]


def execute(
    runs: Sequence[Run],
    out: Path,
    work: Callable[[Run, Path], Record],
    say: Callable[[str], None] = lambda line: None,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Do `work(run, folder)` for every run without a result. Several programs may share OUT: each takes what no other
    has locked. `say` is told of every run that ends; then `stop` is asked whether Ctrl-C or SIGTERM came that `work`
    could finish in spite of.

    Runs that were begun most often come last, so that one that kills its program does not hold up the others. Raises
    KeyboardInterrupt; the same call goes on.
    """
    finished = [run.name for run in runs if result_file(out, run).exists()]
    failed: dict[str, str] = {}
    skipped: list[str] = []
    left = sorted((run for run in runs if run.name not in finished), key=lambda run: begun(out, run))
    pace: list[float] = []
    for number, run in enumerate(left):
        folder = out / "runs" / run.name
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder) as ours:
            if not ours:
                skipped.append(run.name)
                say(f"{run.name}: another program is at it")
                continue
            if result_file(out, run).exists():  # finished elsewhere meanwhile
                finished.append(run.name)
                continue
            began = time.perf_counter()
            why = _tried(run, out, folder, work)
            pace.append(time.perf_counter() - began)
        if why:
            failed[run.name] = why
        else:
            finished.append(run.name)
        to_do = len(left) - number - 1
        hours = to_do * sum(pace) / len(pace) / 3600
        what = f"failed: {why}" if why else f"{pace[-1]:.0f} s"
        say(f"[{len(finished)}/{len(runs)}] {run.name}: {what}; {_time(hours)} left")
        if stop():
            raise KeyboardInterrupt
    return Outcome(finished, failed, skipped)


def _tried(run: Run, out: Path, folder: Path, work: Callable[[Run, Path], Record]) -> str:
    """Why it failed; "" if it did not. A user's mistake is not tried again: it would be the same."""
    for _ in range(TRIES):
        log(folder, event="started", process=os.getpid())
        try:
            record = work(run, folder)
        except Exception as error:
            why = " ".join(str(error).split())[:300] or type(error).__name__
            log(folder, event="failed", why=why, trace=traceback.format_exc())
            if isinstance(error, UserError):
                break
        else:
            write_json(result_file(out, run), record)
            return ""
    return why


def result_file(out: Path, run: Run) -> Path:
    return out / "results" / f"{run.name}.json"


def results(out: Path) -> dict[str, Record]:
    """{run's name: its record}. Raises UserError: a file there is damaged."""
    found = {}
    for path in sorted((out / "results").glob("*.json")):
        try:
            found[path.stem] = read_json(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error}); remove it, and the run is done again") from None
    return found


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


def log(folder: Path, **event: Any) -> None:
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"time": round(time.time(), 1), **event}, ensure_ascii=False) + "\n")


def begun(out: Path, run: Run) -> int:
    """How often a run was started."""
    path = out / "runs" / run.name / "log.jsonl"
    return path.read_text(encoding="utf-8").count('"event": "started"') if path.exists() else 0


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Whether this program has the folder to itself; the system frees it when the program ends, however it ends."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def _time(hours: float) -> str:
    return f"about {hours:.1f} h" if hours >= 1 else f"about {max(1, round(hours * 60))} min" if hours else "nothing"
