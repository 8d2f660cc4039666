"""The answers as tables: each arm beside full LoRA, each intervention beside none, with intervals."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from asking import Asked
from tuned import LORA, UNTRAINED, Arm

from saltjax.evaluate.intervals import interval, paired
from saltjax.evaluate.shelf import parsed


def scores(out: Path, name: str, one: Asked) -> np.ndarray:
    """The main metric of each question, in order."""
    path = out / one.file(name)
    rows = [parsed(line, path, number) for number, line in enumerate(path.read_text().split("\n")[:-1], 1)]
    return np.array([next(iter(row["scores"].values())) for row in sorted(rows, key=lambda row: row["number"])])


def cell(values: np.ndarray) -> str:
    low, high = interval(values) or (np.nan, np.nan)
    return f"{100 * values.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


def change(before: np.ndarray, after: np.ndarray) -> str:
    found = paired(before, after)
    low, high = found.interval or (np.nan, np.nan)
    return f"{100 * found.difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}), p {found.p:.2f}"


def arms_table(out: Path, arms: Sequence[Arm], language: str) -> list[str]:
    """What was trained on the English task, asked in English and in a language; differences are those in the language,
    paired, question by question."""
    lines = [
        f"| trained | en, % | {language}, % | less full LoRA | less as many random neurons |",
        "|---|---|---|---|---|",
    ]
    here = Asked(language, "", False)
    full = scores(out, LORA, here)
    for arm in [Arm(UNTRAINED, ""), *arms]:
        if arm.of not in ("", language):
            continue
        own = scores(out, arm.file, here)
        random = {"neurons": "random", "full-rank": "random-full-rank"}.get(arm.name)
        beside = change(scores(out, f"{random}.{language}", here), own) if random else ""
        english = cell(scores(out, arm.file, Asked("en", "", False)))
        less = "" if arm.name == LORA else change(full, own)
        lines.append(f"| {arm.name} | {english} | {cell(own)} | {less} | {beside} |")
    return lines


def holds_table(out: Path, names: Sequence[str], language: str, holds: Sequence[str]) -> list[str]:
    """What holding the language's neurons changes at test time, beside as many random ones."""
    lines = ["| model | held at | neurons | random | neurons less random |", "|---|---|---|---|---|"]
    for name in names:
        plain = scores(out, name, Asked(language, "", False))
        lines.append(f"| {name} | nothing | {cell(plain)} | | |")
        for hold in holds:
            own, other = (scores(out, name, Asked(language, hold, random)) for random in (False, True))
            lines.append(f"| | {hold} | {change(plain, own)} | {change(plain, other)} | {change(other, own)} |")
    return lines
