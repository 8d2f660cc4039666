"""Groups of tokens that scores are split by: how frequent a token is, and its script."""

import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from saltjax.vocab.vocabulary import Vocabulary

FEW = 20  # a script with fewer held-out tokens is among "other"


def bands(
    vocabulary: Vocabulary, ids: Int[np.ndarray, " n"], counts: Int[np.ndarray, " v"] | None = None
) -> dict[str, dict[str, Bool[np.ndarray, " n"]]]:
    """{"frequency": {frequent, middle, rare}, "script": {Latin, Arabic, ...}}, each a mask over the tokens `ids`.

    Frequency bands are thirds: by `counts` [v] in text where they are given, else by id, which most tokenizers hand
    out in the order of frequency or of merging.
    """
    order = ids if counts is None else np.lexsort((ids, -counts[ids]))
    position = np.empty(len(ids), np.int64)
    position[np.argsort(ids, kind="stable") if counts is None else order] = np.arange(len(ids))
    third = position * 3 // max(1, len(ids))
    frequency = {name: third == number for number, name in enumerate(("frequent", "middle", "rare"))}
    surfaces = {token.id: token.surface for token in vocabulary.tokens}
    names = [script(surface.text.decode(errors="ignore")) if (surface := surfaces[int(i)]) else "other" for i in ids]
    return {"frequency": frequency, "script": _large(names)}


def script(text: str) -> str:
    """Of the first letter, as Unicode names it (Latin, Arabic, Cjk, ...); "other" where there is none."""
    letter = next((char for char in text if char.isalpha()), None)
    return unicodedata.name(letter, "other").split()[0].capitalize() if letter else "other"


def _large(names: Sequence[str]) -> dict[str, Bool[np.ndarray, " n"]]:
    found = {name: np.array([other == name for other in names]) for name in sorted(set(names))}
    kept = {name: mask for name, mask in found.items() if mask.sum() >= FEW and name != "other"}
    rest = ~np.logical_or.reduce([*kept.values(), np.zeros(len(names), bool)])
    return kept | ({"other": rest} if rest.any() else {})
