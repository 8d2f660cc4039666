"""What the tokens of a transfer say when they are counted."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from saltjax.report.gather import Token, Transfer
from saltjax.transfer.bands import script

ORIGINS = ("copied", "fitted", "special", "fallback")
LISTED = 12  # tokens of a list


def overlap(tokens: list[Token], group: Callable[[Token], str]) -> dict[str, dict[str, int]]:
    """{group: {origin: tokens}}, the most frequent group first."""
    counts: dict[str, Counter] = {}
    for token in tokens:
        counts.setdefault(group(token), Counter())[token.origin] += 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1].total(), item[0]))
    return {name: {origin: found[origin] for origin in ORIGINS} for name, found in ranked}


def by_script(token: Token) -> str:
    """Of its first letter."""
    if not token.surface:
        return "no text"
    name = script(token.surface)
    return "no letter" if name == "other" else name


def by_role(token: Token) -> str:
    """What it does in a word."""
    if not token.surface:
        return "special, byte or unused"
    if not any(char.isalpha() for char in token.surface):
        return "digits and signs"
    return "begins a word" if token.surface.startswith("_") else "within a word"


def distributions(tokens: list[Token]) -> dict[str, dict[str, list[float]]]:
    """{k, residual, norm: {origin: values}}; those without a value are left out."""
    found: dict[str, dict[str, list[float]]] = {"k": {}, "residual": {}, "norm": {}}
    for token in tokens:
        for quantity, values in found.items():
            value = getattr(token, quantity)
            if value is not None:
                values.setdefault(token.origin, []).append(float(value))
    return found


def quantiles(values: list[float]) -> dict[str, float]:
    """Five of them, and the mean."""
    points = np.percentile(values, [5, 25, 50, 75, 95]).tolist()
    return dict(zip(("p5", "p25", "median", "p75", "p95"), points, strict=True)) | {"mean": float(np.mean(values))}


def lists(tokens: list[Token], chosen: list[str]) -> dict[str, list[Token]]:
    """Fitted tokens to look at: those whose surface is one of `chosen` (else whole words from the whole vocabulary,
    evenly spaced), those that their neighbours explain least, the longest and the shortest rows."""
    fitted = [token for token in tokens if token.origin == "fitted"]
    words = [token for token in fitted if token.surface.startswith("_") and len(token.surface) > 4]
    if chosen:
        picked = [token for token in tokens if token.surface.removeprefix("_") in chosen]
    else:
        picked = words[:: max(1, len(words) // LISTED)][:LISTED]
    explained = [token for token in fitted if token.residual is not None]
    by_norm = sorted(fitted, key=lambda token: token.norm)
    found = {
        "chosen" if chosen else "some whole words": picked,
        "least explained": sorted(explained, key=lambda token: -(token.residual or 0))[:LISTED],
        "longest rows": by_norm[::-1][:LISTED],
        "shortest rows": by_norm[:LISTED],
    }
    return {name: some for name, some in found.items() if some}


def summary(transfer: Transfer) -> dict[str, Any]:
    """A transfer in numbers: for the JSON beside the page."""
    values = distributions(transfer.tokens)
    return {
        "name": transfer.name,
        "record": transfer.record,
        "overlap": {
            "script": overlap(transfer.tokens, by_script),
            "role": overlap(transfer.tokens, by_role),
        },
        "distributions": {
            quantity: {origin: quantiles(some) for origin, some in by_origin.items()}
            for quantity, by_origin in values.items()
        },
    }
