"""The accuracies in WORK/asked as a table."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from answers import METHODS
from markdown import head, row


def answer_table(work: Path) -> Iterator[str]:
    """Accuracy by question set, with its 95 % interval; what is above blind guessing is bold."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((work / "asked").glob("*.json"))]
    if not found:
        return
    methods = [method for method in METHODS if method in {one["method"] for one in found}]
    yield "### Questions: accuracy before and after adaptation, first seed"
    yield ""
    yield from head(["set", "questions", "when", "guess", *methods])
    for language in sorted({one["language"] for one in found}):
        of = {one["method"]: one["answers"] for one in found if one["language"] == language}
        for task in dict.fromkeys(task for one in of.values() for when in one.values() for task in when):
            for when in dict.fromkeys(when for one in of.values() for when in one):
                results = {method: one[when][task] for method, one in of.items() if task in one[when]}
                first = next(iter(results.values()))
                cells = [_accuracy(results[method]) if method in results else "" for method in methods]
                yield row([task, str(first["n"]), when, f"{100 * first['guess']:.0f}", *cells])
    yield ""
    yield "Per cent. Public sets: the choice with the highest log-likelihood a character (acc_norm); *continuation*:"
    yield "the one to which the context adds most. *Guess*: the better of a random choice and always the same place."
    yield "Bold: the 95 % bootstrap interval over questions lies above it."


def _accuracy(result: Mapping[str, Any]) -> str:
    low, high = result["interval"]
    cell = f"{100 * result['accuracy']:.0f} [{100 * low:.0f}, {100 * high:.0f}]"
    return f"**{cell}**" if low > result["guess"] else cell
