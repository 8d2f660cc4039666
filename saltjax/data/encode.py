"""Documents to token ids, on all cores."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from saltjax.errors import UserError

# Calls to the tokenizer in flight, each with so much text. Each call runs on all cores and without Python's lock; while
# one ends, the next keeps the cores busy and this thread reads. As fast as processes would be, and no copies between
# them, no fork below JAX's threads, no import of the user's script (benchmarks/input_pipeline.py compares them).
CALLS = 3
CALL_BYTES = 1 << 20


class Batch(NamedTuple):
    """Some documents: their tokens one after another, and each one's number of tokens and UTF-8 bytes.

    Of examples (`template.py`) the bytes are those of the answers, whose tokens `learns` marks.
    """

    tokens: Int[np.ndarray, " tokens"]  # int32
    lengths: Int[np.ndarray, " documents"]
    bytes: Int[np.ndarray, " documents"]
    learns: Bool[np.ndarray, " tokens"] | None = None


@dataclass(frozen=True)
class Counts:
    """Of a corpus. `tokens` are those of the text, without BOS and EOS; `bytes` are UTF-8, without line ends.

    Of examples, `tokens` are all that the template writes, `bytes` those of the answers.
    """

    documents: int
    tokens: int
    bytes: int
    unknown: int  # tokens that are the tokenizer's unk: text that is lost
    largest_id: int  # -1 without tokens

    @classmethod
    def of(cls, batch: Batch, unk: int | None) -> "Counts":
        unknown = 0 if unk is None else int((batch.tokens == unk).sum())
        return cls(
            len(batch.bytes), len(batch.tokens), int(batch.bytes.sum()), unknown, int(batch.tokens.max(initial=-1))
        )

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.documents + other.documents,
            self.tokens + other.tokens,
            self.bytes + other.bytes,
            self.unknown + other.unknown,
            max(self.largest_id, other.largest_id),
        )


def encoded(backend: Tokenizer, documents: Iterable[str]) -> Iterator[Batch]:
    """Documents as token ids without specials, in order; a few MB of text and its ids are in memory at once."""
    running: deque[Future[Batch]] = deque()
    calls = ThreadPoolExecutor(CALLS, "tokenise")
    try:
        for texts, sizes in _batched(documents):
            running.append(calls.submit(_encode, backend, texts, sizes))
            if len(running) > CALLS:  # one more is ready for the first that ends
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        calls.shutdown(cancel_futures=True)


def _batched(documents: Iterable[str]) -> Iterator[tuple[list[str], list[int]]]:
    texts: list[str] = []
    sizes: list[int] = []
    total = 0
    for document in documents:
        texts.append(document)
        sizes.append(len(document.encode("utf-8")))
        total += sizes[-1]
        if total >= CALL_BYTES:
            yield texts, sizes
            texts, sizes, total = [], [], 0
    if texts:
        yield texts, sizes


def _encode(backend: Tokenizer, texts: list[str], sizes: list[int]) -> Batch:
    ids = [np.array(e.ids, np.int32) for e in backend.encode_batch_fast(texts, add_special_tokens=False)]
    return Batch(np.concatenate(ids), np.array([len(i) for i in ids]), np.array(sizes))


def begin_of_text(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id in front of every document: BOS, else CLS, else EOS (GPT-2's way)."""
    for token_id in (tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id):
        if token_id is not None:
            return int(token_id)
    raise UserError(f"the tokenizer {tokenizer.name_or_path} has no BOS, CLS or EOS token; name one in its config")


def plain_backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """A copy of the fast tokenizer that gives all of a text, always the same: no truncation, padding or BPE dropout."""
    if not tokenizer.is_fast:
        raise UserError(f"{tokenizer.name_or_path} has no fast tokenizer (tokenizer.json); convert it first")
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    if getattr(backend.model, "dropout", None):
        backend.model.dropout = None
    return backend
