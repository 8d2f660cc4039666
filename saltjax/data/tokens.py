"""Token ids of a corpus, made once and kept on disk."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from saltjax.data.corpus import Source, TextFile
from saltjax.errors import UserError
from saltjax.hub.directory import whole_directory

FORMAT = 1  # of the cache
BATCH_BYTES = 1 << 22  # text handed to the tokenizer's threads at once; bounds the memory


class Batch(NamedTuple):
    """Some documents: their tokens one after another, and each one's number of tokens and UTF-8 bytes."""

    tokens: Int[np.ndarray, " tokens"]  # int32
    lengths: Int[np.ndarray, " documents"]
    bytes: Int[np.ndarray, " documents"]


@dataclass(frozen=True)
class Counts:
    """Of a corpus. `tokens` are those of the text, without BOS and EOS; `bytes` are UTF-8, without line ends."""

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


@dataclass(frozen=True)
class TokenStore:
    """Token ids of all documents, memory-mapped: document i is `tokens[ends[i - 1] : ends[i]]`, without specials.

    The cut into pieces depends on the window length and is made later (`pipeline.Windows`), so one store serves all.
    """

    tokens: Int[np.ndarray, " tokens"]  # int32
    ends: Int[np.ndarray, " documents"]  # int64
    bos: int
    eos: int | None
    counts: Counts
    directory: Path | None = None  # None: only in memory


def tokenized(
    files: Sequence[str | Path | Source],
    tokenizer: PreTrainedTokenizerBase,
    cache_dir: str | Path,
    layout: str = "line",
) -> TokenStore:
    """The store of these text files (read with `layout`) or other sources, in the order given.

    Made in `cache_dir/<fingerprint>` and only opened the next time. The fingerprint covers the tokenizer, its BOS, EOS
    and unk, and the content of every source. The directory appears whole or not at all.

    Raises UserError: see `corpus.documents`, `begin_of_text`, `hub.directory.whole_directory`; a damaged cache.
    """
    sources = [file if isinstance(file, Source) else TextFile(Path(file), layout) for file in files]
    if not sources:
        raise UserError("no text file was given")
    bos, eos = begin_of_text(tokenizer), tokenizer.eos_token_id
    backend = plain_backend(tokenizer)
    key = [FORMAT, backend.to_str(), bos, eos, tokenizer.unk_token_id, *(source.fingerprint() for source in sources)]
    directory = Path(cache_dir) / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    if not directory.exists():
        documents = (document for source in sources for document in source.documents())
        try:
            with whole_directory(directory) as partial:
                _write(partial, backend, documents, tokenizer.unk_token_id)
        except UserError:
            if not directory.exists():  # else another process was faster, and wrote the same
                raise
    counts = Counts(**json.loads((directory / "counts.json").read_text()))
    ends = np.fromfile(directory / "ends.int64", "<i8")
    # An empty file cannot be mapped.
    tokens = np.memmap(directory / "tokens.int32", "<i4", mode="r") if counts.tokens else np.zeros(0, np.int32)
    if len(tokens) != counts.tokens or len(ends) != counts.documents:
        raise UserError(f"the token cache {directory} is damaged; remove it, and it is made again")
    return TokenStore(tokens, ends, bos, eos, counts, directory)


def encoded(backend: Tokenizer, documents: Iterable[str]) -> Iterator[Batch]:
    """Documents as token ids without specials, in order, a few MB of text at a time; a batch uses all cores."""
    texts: list[str] = []
    sizes: list[int] = []
    total = 0
    for document in documents:
        texts.append(document)
        sizes.append(len(document.encode("utf-8")))
        total += sizes[-1]
        if total >= BATCH_BYTES:
            yield _encode(backend, texts, sizes)
            texts, sizes, total = [], [], 0
    if texts:
        yield _encode(backend, texts, sizes)


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


def _write(directory: Path, backend: Tokenizer, documents: Iterable[str], unk: int | None) -> None:
    counts = Counts(0, 0, 0, 0, -1)
    lengths = []
    with (directory / "tokens.int32").open("wb") as file:
        for batch in encoded(backend, documents):
            file.write(batch.tokens.astype("<i4", copy=False).data)
            lengths.append(batch.lengths)
            counts += Counts.of(batch, unk)
    np.cumsum(np.concatenate(lengths)).astype("<i8").tofile(directory / "ends.int64")
    (directory / "counts.json").write_text(json.dumps(asdict(counts), indent=1) + "\n")
