"""What a tokenizer makes of a text: tokens a word, and what it cannot write."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from saltjax.vocab.pieces import bare

BLOCK = 1000  # documents encoded at a time


@dataclass(frozen=True)
class Usage:
    """How often each token occurs in a text (no special tokens added), its words (parted by white space) and bytes, and
    how many of its tokens are UNK."""

    counts: Counter[int] = field(default_factory=Counter)
    words: int = 0
    bytes: int = 0
    unknown: int = 0

    @property
    def fertility(self) -> float:
        """Tokens a word."""
        return self.counts.total() / max(1, self.words)

    def report(self) -> dict[str, float]:
        tokens = self.counts.total()
        return {
            "fertility": self.fertility,
            "bytes_per_token": self.bytes / max(1, tokens),
            "unknown": self.unknown / max(1, tokens),
            "tokens_used": len(self.counts),
        }


def usage(tokenizer: Any, documents: Iterable[str]) -> Usage:
    """`tokenizer`: fast, of Hugging Face. Documents are read once, `BLOCK` at a time."""
    backend = bare(tokenizer)
    counts: Counter[int] = Counter()
    words = size = 0
    block: list[str] = []

    def count() -> None:
        for encoded in backend.encode_batch_fast(block, add_special_tokens=False):
            counts.update(encoded.ids)
        block.clear()

    for document in documents:
        words += len(document.split())
        size += len(document.encode())
        block.append(document)
        if len(block) == BLOCK:
            count()
    count()
    return Usage(counts, words, size, counts.get(tokenizer.unk_token_id, 0))
