"""layers questions: translation data for SLAM and QAlign."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saltjax.errors import UserError
from saltjax.layers.questions import ENGLISH, example, pairs


def layers_questions(
    out: str | Path, files: Sequence[str], *, field: str = "question", overwrite: bool = False
) -> dict[str, Any]:
    """Write JSON lines for `finetune` to the file `out`: each problem of each language to be put into English.

    `files`: LANG=FILE, tab-separated or JSON lines (its `field`); see `layers.questions.pairs`. A problem that is empty
    on a side, or the same on both, is left out and counted.

    Returns out, examples{LANG}, left_out{LANG}. Raises UserError, also where no problem is left; `out` appears whole or
    not at all.
    """
    out = Path(out)
    if out.is_dir() or (out.exists() and not overwrite):
        hint = "is a directory; name a file" if out.is_dir() else "exists already; give --overwrite or another name"
        raise UserError(f"{out} {hint}")
    named = dict(one.partition("=")[::2] for one in files)
    if len(named) < len(files) or not all(named.values()):
        raise UserError(f"{' '.join(files)}: write LANG=FILE, each language once")
    examples, left_out = Counter[str](), Counter[str]()
    partial = out.with_name(f".{out.name}.partial")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            for pair in pairs(named, field):
                good = pair.text and pair.english and pair.text != pair.english
                (examples if good else left_out)[pair.language] += 1
                if good:
                    file.write(example(pair) + "\n")
        if not examples:
            raise UserError(f"{' '.join(files)}: no problem with its translation in it; {left_out.total():,} left out")
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    counts = {"examples": examples, "left_out": left_out}
    by_language = {key: {one: count[one] for one in named if one != ENGLISH} for key, count in counts.items()}
    return {"out": str(out), **by_language}
