"""Held-out curves of several runs: a picture, and a table in Markdown on stdout.

python scripts/compare_runs.py OUT.png NAME=RUN NAME=RUN ...
"""

import json
import sys
from pathlib import Path

from saltjax.train.plots import picture


def curve(run: Path) -> list[tuple[int, float]]:
    """(step, bits per byte) of the run's first held-out text."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").split("\n") if line]
    return [(line["step"], next(iter(line["bits_per_byte"].values()))) for line in lines if "bits_per_byte" in line]


def main() -> None:
    out, *runs = sys.argv[1:]
    curves = {name: curve(Path(run)) for name, run in (argument.split("=", 1) for argument in runs)}
    picture(Path(out), {"held-out text [bits per byte]": curves})
    steps = [step for step, _ in next(iter(curves.values()))]
    shown = [steps[i] for i in sorted({0, 1, 2, 4, len(steps) // 2, len(steps) - 1}) if i < len(steps)]
    print("| steps | " + " | ".join(map(str, shown)) + " |")
    print("|---" * (len(shown) + 1) + "|")
    for name, points in curves.items():
        print(f"| {name} | " + " | ".join(f"{dict(points)[step]:.3f}" for step in shown) + " |")


if __name__ == "__main__":
    main()
