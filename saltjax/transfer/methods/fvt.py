"""Fast Vocabulary Transfer (Gee et al. 2022): the mean of a token's pieces in the old tokenizer."""

from typing import Any

import numpy as np

from saltjax.transfer.material import Material, needed
from saltjax.transfer.mixture import Mixture
from saltjax.transfer.problem import Problem
from saltjax.vocab.surface import Surface
from saltjax.vocab.vocabulary import Vocabulary

BEFORE = "\n"  # keeps what follows from being the text's first word, to which some tokenizers add a space


def fvt(problem: Problem, material: Material) -> Mixture:
    """`row = mean of E[p]` over the pieces p that the source's tokenizer cuts the token's text into.

    Unlike the paper's code a word start is kept: `Ġhaus` is cut as " haus", `##haus` as it stands inside a word. A cut
    counts when its pieces spell the token, byte for byte; where they do not (the tokenizer normalises, or cannot cut
    the inside of a word alone) and for byte tokens the source's longest matching tokens are taken from the left. So
    they are for a held-out token, without its own source token. A byte that no source token spells is left out; a
    token of nothing else has support 0.

    Raises UserError without a source tokenizer.
    """
    tokenizer = needed(material.source_tokenizer, "the source's tokenizer")
    surfaces = {token.id: token.surface for token in problem.target.tokens if token.surface is not None}
    spelled = [_spelled(surfaces[i]) for i in problem.new.tolist()]
    by_spelling = _by_spelling(problem.source)
    longest = max(map(len, by_spelling), default=0)
    pieces = []
    for text, cut, hidden in zip(
        spelled, _cuts(spelled, tokenizer, problem.source), problem.hidden.tolist(), strict=True
    ):
        pieces.append(cut if cut and hidden not in cut else _greedy(text, by_spelling, longest, hidden))
    support = np.array([len(cut) for cut in pieces], np.int32)
    indices = np.zeros((len(pieces), max(1, int(support.max(initial=0)))), np.int32)
    for row, cut in zip(indices, pieces, strict=True):
        row[: len(cut)] = cut
    inside = np.arange(indices.shape[1]) < support[:, None]
    weights = np.where(inside, 1 / np.maximum(support, 1)[:, None], 0).astype(np.float32)
    return Mixture(indices, weights, support, mesh=material.mesh)


def _spelled(surface: Surface) -> bytes:
    return b" " * bool(surface.word_start) + surface.text


def _cuts(texts: list[bytes], tokenizer: Any, source: Vocabulary) -> list[list[int]]:
    """The tokenizer's pieces of each text, or none where they do not spell it."""
    bytes_of = {token.id: _spelled(token.surface) for token in source.tokens if token.surface is not None}
    decoded = [BEFORE + text.decode(errors="replace") for text in texts]
    cuts = []
    for text, found in zip(
        texts, tokenizer.backend_tokenizer.encode_batch(decoded, add_special_tokens=False), strict=True
    ):
        ids = [i for i, (_, end) in zip(found.ids, found.offsets, strict=True) if end > len(BEFORE)]
        known = all(i in bytes_of for i in ids)  # special tokens spell nothing
        cuts.append(ids if known and b"".join(bytes_of[i] for i in ids) == text else [])
    return cuts


def _by_spelling(source: Vocabulary) -> dict[bytes, list[int]]:
    """Source tokens by what they spell; of one spelling ordinary tokens go before byte tokens, then the lowest id."""
    found: dict[bytes, list[int]] = {}
    for token in sorted(source.tokens, key=lambda token: (token.kind == "bytes", token.id)):
        if token.surface is not None and (spelling := _spelled(token.surface)):
            found.setdefault(spelling, []).append(token.id)
    return found


def _greedy(text: bytes, tokens: dict[bytes, list[int]], longest: int, hidden: int) -> list[int]:
    pieces, start = [], 0
    while start < len(text):
        for end in range(min(len(text), start + longest), start, -1):
            usable = [i for i in tokens.get(text[start:end], ()) if i != hidden]
            if usable:
                pieces.append(usable[0])
                break
        start = end
    return pieces
