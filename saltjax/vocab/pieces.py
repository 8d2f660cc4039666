"""How a tokenizer cuts single words, and vectors of tokens from those of the words that contain them."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Float
from tokenizers import Tokenizer

from saltjax.vocab.auxiliary import Auxiliary
from saltjax.vocab.vocabulary import Vocabulary, word

BLOCK = 20_000  # words encoded at a time
PROBES = 50


def bare(tokenizer: Any) -> Tokenizer:
    """A copy of the backend that neither pads nor truncates."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    return backend


def word_pieces(tokenizer: Any, vocabulary: Vocabulary, words: Sequence[str]) -> list[list[int]]:
    """The ids that each word has inside a text, after a space; no special tokens."""
    backend = bare(tokenizer)
    before = word_prefix(backend, vocabulary)
    found: list[list[int]] = []
    for start in range(0, len(words), BLOCK):
        block = [before + text for text in words[start : start + BLOCK]]
        found += [encoded.ids for encoded in backend.encode_batch_fast(block, add_special_tokens=False)]
    return found


def word_prefix(backend: Tokenizer, vocabulary: Vocabulary) -> str:
    """What to put before a word so that a tokenizer takes it for one: a space where it does not do so by itself.

    Asked of the tokenizer: which of the two gives its own word-starting tokens back.
    """
    starts = (
        t for t in vocabulary.tokens if t.surface is not None and t.surface.word_start and (word(t) or "").isalpha()
    )
    probes = list(islice(starts, PROBES))

    def kept(before: str) -> int:
        texts = [before + (word(token) or "") for token in probes]
        encoded = backend.encode_batch_fast(texts, add_special_tokens=False)
        return sum(found.ids == [token.id] for found, token in zip(encoded, probes, strict=True))

    return " " if kept(" ") > kept("") else ""


def token_vectors(auxiliary: Auxiliary, tokenizer: Any, vocabulary: Vocabulary, count: int) -> Float[np.ndarray, "v a"]:
    """The mean of the vectors of the `count` most frequent words that a token is a piece of; zeros if it is in none.

    A word weighs 1 / its rank, which stands for its frequency (RAMEN, Tran 2020, §2.2). Row = token id.
    """
    words = auxiliary.frequent(count)
    vectors = auxiliary.vectors(words)
    table = np.zeros((vocabulary.size, auxiliary.dim), np.float64)
    total = np.zeros(vocabulary.size)
    for rank, (ids, vector) in enumerate(zip(word_pieces(tokenizer, vocabulary, words), vectors, strict=True), start=1):
        distinct = list(dict.fromkeys(ids))
        table[distinct] += vector / rank
        total[distinct] += 1 / rank
    return (table / np.where(total > 0, total, 1)[:, None]).astype(np.float32)
