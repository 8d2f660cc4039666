"""From the paths of a report to what lies there: transfers, runs, held-out scores."""

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from saltjax.errors import UserError
from saltjax.train import metrics


class Token(NamedTuple):
    """A line of tokens.tsv.gz; None where the file has nothing."""

    id: int
    token: str
    surface: str
    origin: str
    k: int | None
    residual: float | None
    norm: float
    nearest: list[str]


class Transfer(NamedTuple):
    """`record` is transfer.json."""

    name: str
    record: dict[str, Any]
    tokens: list[Token]


class Run(NamedTuple):
    """Points (step, value) of a run: training loss in nats a token, held-out bits per byte by text."""

    name: str
    loss: list[tuple[int, float]]
    bits_per_byte: dict[str, list[tuple[int, float]]]


class Found(NamedTuple):
    """scores: {name of what was inspected: {METHOD: its scores}}, as `saltjax inspect --scores` gives them."""

    transfers: list[Transfer]
    runs: list[Run]
    scores: dict[str, dict[str, dict[str, Any]]]


def gather(paths: Sequence[str | Path]) -> Found:
    """What lies at each path: the directory of a transfer or of a run (with the transfer it began from, once), or the
    JSON of `saltjax inspect --scores --json`.

    Raises UserError, naming all paths that are none of these.
    """
    found = Found([], [], {})
    wrong = []
    for path, name in zip(map(Path, paths), _names([Path(path) for path in paths]), strict=True):
        if (path / "transfer.json").is_file():
            _add(found, Transfer(name, _json(path / "transfer.json"), _tokens(path / "tokens.tsv.gz")))
        elif (path / "config.yaml").is_file():
            if (path / "model" / "transfer.json").is_file():
                model = path / "model"
                _add(found, Transfer(name, _json(model / "transfer.json"), _tokens(model / "tokens.tsv.gz")))
            found.runs.append(_run(name, path))
        elif path.is_file() and "scores" in (content := _json(path)):
            found.scores[name] = content["scores"]
        else:
            wrong.append(f"{path} is neither a transferred model, nor a run, nor the JSON of inspect --scores")
    if wrong:
        raise UserError("; ".join(wrong))
    return found


def _add(found: Found, transfer: Transfer) -> None:
    if all(transfer.record != other.record or transfer.tokens != other.tokens for other in found.transfers):
        found.transfers.append(transfer)


def _names(paths: Sequence[Path]) -> list[str]:
    """The paths' last parts; more of them where these are the same."""
    for count in range(1, max(len(path.resolve().parts) for path in paths) + 1):
        names = ["/".join(path.resolve().parts[-count:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: is not readable JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not a JSON object")
    return content


def _tokens(path: Path) -> list[Token]:
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
            return [
                Token(
                    int(row["id"]),
                    row["token"],
                    row["surface"],
                    row["origin"],
                    int(row["k"]) if row["k"] else None,
                    float(row["residual"]) if row["residual"] else None,
                    float(row["norm"]),
                    row["nearest"].split(),
                )
                for row in rows
            ]
    except (OSError, EOFError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: is damaged or missing ({error}); run the transfer again") from None


def _run(name: str, path: Path) -> Run:
    lines = metrics.read(path / "metrics.jsonl")
    curves: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for text, value in line.get("bits_per_byte", {}).items():
            curves.setdefault(text, []).append((line["step"], value))
    return Run(name, [(line["step"], line["loss"]) for line in lines if "loss" in line], curves)
