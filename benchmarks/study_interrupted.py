"""What an interrupted study loses: it is killed again and again, and compared with one that was left alone.

    export TASKS=pocket-tasks
    python scripts/pocket_tasks.py $TASKS
    python benchmarks/study_interrupted.py configs/study-pocket.yaml DIR [--kills 8] [--seed 0] [--checkpoint-every 20]

Plans the study twice, in DIR/straight and in DIR/killed. The first is run by one command. The second is run by the same
command, which is sent SIGKILL at random moments and started again; its trainings keep a checkpoint every so many steps,
so that some go on in the middle. Both are ordinary commands; a finished DIR/straight is taken as it is.

Prints what was going on at every kill, and whether results (but for tokens a second), answers and scores are the same
byte for byte, and whether a run that had a result was ever begun again or its result written again. Status 1 if not.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import yaml

SALTJAX = [sys.executable, "-c", "from saltjax.cli import main; main()"]
CLOCK = ("tokens_per_second",)  # what of a result depends on the time that it took


def planned(study: Path, out: Path) -> None:
    subprocess.run([*SALTJAX, "study", "plan", str(study), str(out)], check=True, stdout=subprocess.DEVNULL)


def started(out: Path) -> subprocess.Popen:
    with Path(f"{out}.log").open("a") as log:
        return subprocess.Popen([*SALTJAX, "study", "run", str(out)], stdout=log, stderr=log)


def straight(study: Path, out: Path) -> None:
    planned(study, out)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    if started(out).wait():
        sys.exit(f"the study failed; {out}.log says why")
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    line = f"left alone: {len(results(out))} runs in {minutes(seconds)}, {minutes(busy)} of CPU time"
    Path(f"{out}.txt").write_text(line + "\n")


def killed(study: Path, out: Path, kills: int, rng: random.Random, longest: float) -> dict[str, tuple[int, bytes]]:
    """Runs the study to its end; the files of results as they were when they were first seen."""
    planned(study, out)
    first: dict[str, tuple[int, bytes]] = {}
    for number in range(1, kills + 1):
        process, until = started(out), time.monotonic() + rng.uniform(2, longest)
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        process.kill()
        if process.wait() >= 0:
            print(f"kill {number}: too late, the study was done; more runs or fewer kills are needed")
            break
        note(out, first)
        print(f"kill {number}: {len(first)} runs were done, then {doing(out)}", flush=True)
    if started(out).wait():
        sys.exit(f"the study failed; {out}.log says why")
    return first


def note(out: Path, first: dict[str, tuple[int, bytes]]) -> None:
    for path in (out / "results").glob("*.json"):
        first.setdefault(path.name, (path.stat().st_mtime_ns, path.read_bytes()))


def doing(out: Path) -> str:
    """What the run without a result that was begun last was at."""
    done = {path.stem for path in (out / "results").glob("*.json")}
    begun = [path for path in (out / "runs").glob("*/log.jsonl") if path.parent.name not in done]
    if not begun:
        return "none was begun"
    folder = max(begun, key=lambda path: path.stat().st_mtime_ns).parent
    if (folder / "trained.json").exists():
        return f"{folder.name} wrote answers, {len(list((folder / 'answers').glob('*.json')))} files were done"
    steps = [int(path.name) for path in (folder / "training" / "checkpoints").glob("*") if path.name.isdigit()]
    return f"{folder.name} trained, its last checkpoint was of step {max(steps)}" if steps else f"{folder.name} trained"


def results(out: Path) -> dict[str, str]:
    found = {}
    for path in sorted((out / "results").glob("*.json")):
        record = json.loads(path.read_bytes())
        found[path.stem] = json.dumps({key: value for key, value in record.items() if key not in CLOCK})
    return found


def answers(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.glob("runs/*/answers/*.json"))}


def differing(one: dict, other: dict) -> list[str]:
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


def minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=60.0, help="seconds between a start and a kill at most")
    parser.add_argument("--checkpoint-every", type=int, default=20)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    one, other = given.folder / "straight", given.folder / "killed"
    if not Path(f"{one}.txt").exists():
        straight(given.study, one)
    print(Path(f"{one}.txt").read_text(), end="", flush=True)
    content = yaml.safe_load(given.study.read_text(encoding="utf-8"))
    content["name"] = content.get("name", given.study.stem)
    content.setdefault("finetune", {})["checkpoint_every"] = given.checkpoint_every
    changed = given.folder / "killed.yaml"
    changed.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    first = killed(changed, other, given.kills, random.Random(given.seed), given.longest)

    again = [path for path, seen in first.items() if seen != stamp(other / "results" / path)]
    begun = {path.parent.name: path.read_text().count('"started"') for path in other.glob("runs/*/log.jsonl")}
    wrong = differing(results(one), results(other)) + differing(answers(one), answers(other))
    print(f"{len(begun)} runs were begun {sum(begun.values())} times")
    print(f"{len(first)} results that were there at a kill: {len(again)} were written again")
    print(f"{len(results(one))} results and {len(answers(one))} files of answers: {len(wrong)} differ")
    for name in wrong[:10]:
        print(f"  {name}")
    sys.exit(1 if wrong or again else 0)


def stamp(path: Path) -> tuple[int, bytes]:
    return path.stat().st_mtime_ns, path.read_bytes()


if __name__ == "__main__":
    main()
