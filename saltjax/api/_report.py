"""report: what transfers and runs left, as one HTML page and JSON."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saltjax.errors import UserError
from saltjax.report.facts import summary
from saltjax.report.gather import gather
from saltjax.report.page import page


def report(
    paths: Sequence[str | Path], out: str | Path, *, tokens: Sequence[str] = (), overwrite: bool = False
) -> dict[str, Any]:
    """Write one self-contained page on transfers (directories with transfer.json), runs of `adapt` (the transfer that a
    run began from comes along) and held-out scores (files with the JSON of `inspect --scores --json`).

    `out` ends with .html; the same numbers lie beside it as .json. `tokens`: surfaces to list with their neighbours.

    Returns out, json, transfers[...], scores{...}, runs[...]. Raises UserError; then nothing was written.
    """
    out = Path(out)
    if out.suffix != ".html":
        raise UserError(f"{out}: the report is a page; let its name end with .html")
    if not paths:
        raise UserError("nothing to report on: give transferred models, runs, or JSON of `inspect --scores`")
    beside = out.with_suffix(".json")
    if not overwrite and (there := [path for path in (out, beside) if path.exists()]):
        raise UserError(f"{there[0]}: exists already; choose another name or pass --overwrite")
    found = gather(paths)
    content: dict[str, Any] = {
        "transfers": [summary(transfer) for transfer in found.transfers],
        "scores": found.scores,
        "runs": [run._asdict() for run in found.runs],
    }
    title = "saltjax: " + ", ".join(
        [*(one.name for one in found.transfers), *(run.name for run in found.runs)][:4] or found.scores
    )
    _write({out: page(found, title, tokens, beside.name), beside: json.dumps(content, ensure_ascii=False, indent=1)})
    return {"out": str(out), "json": str(beside), **content}


def _write(files: Mapping[Path, str]) -> None:
    """All or none. UserError: the place cannot be written."""
    partial = {path: path.with_name(f".{path.name}.partial") for path in files}
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial[path].write_text(text + "\n", encoding="utf-8")
        for path in files:
            os.replace(partial[path], path)
    except OSError as error:
        raise UserError(f"{next(iter(files))}: cannot be written ({error.strerror})") from None
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)
