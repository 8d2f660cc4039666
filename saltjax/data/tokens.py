"""Token ids of a corpus, made once and kept on disk."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tokenizers
from jaxtyping import Int
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

import saltjax
from saltjax.data.corpus import Source
from saltjax.data.encode import Counts, begin_of_text, encoded, plain_backend
from saltjax.data.fingerprint import fingerprints
from saltjax.errors import UserError
from saltjax.hub.directory import whole_directory

FORMAT = 2  # of the cache


class Progress(NamedTuple):
    """How far a tokenisation is; `read` and `size` are bytes as stored, maybe packed."""

    read: int
    size: int
    documents: int
    tokens: int


@dataclass(frozen=True)
class TokenStore:
    """Token ids of all documents, memory-mapped: document i is `tokens[ends[i - 1] : ends[i]]`, without specials.

    The cut into windows depends on their length and is made later (`windows.py`), so one store serves all.
    """

    tokens: Int[np.ndarray, " tokens"]  # int32
    ends: Int[np.ndarray, " documents"]  # int64
    bos: int
    eos: int | None
    counts: Counts
    directory: Path | None = None  # None: only in memory
    content: str = ""  # fingerprint of the sources, whatever the tokenizer


def tokenized(
    sources: Sequence[Source],
    tokenizer: PreTrainedTokenizerBase,
    cache_dir: str | Path,
    progress: Callable[[Progress], None] | None = None,
) -> TokenStore:
    """The store of these sources, in the order given.

    Made in `cache_dir/<fingerprint>` and only opened the next time. The fingerprint covers the content of every source,
    the tokenizer, its BOS, EOS and unk, and the versions of this package and of `tokenizers`. The directory appears
    whole or not at all. Memory is bounded, whatever the size of the corpus; `progress` is called every few MB, and at
    the end.

    Raises UserError: see `Source`s, `begin_of_text`, `hub.directory.whole_directory`; a source that changes meanwhile;
    a damaged cache.
    """
    if not sources:
        raise UserError("no text was given")
    bos, eos = begin_of_text(tokenizer), tokenizer.eos_token_id
    backend = plain_backend(tokenizer)
    stamps = [source.stamp() for source in sources]
    content = fingerprints(sources, Path(cache_dir) / "fingerprints")
    versions = [FORMAT, saltjax.__version__, tokenizers.__version__]
    key = [versions, backend.to_str(), bos, eos, tokenizer.unk_token_id, content]
    directory = Path(cache_dir) / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    if not directory.exists():
        read, size = 0, sum(stamp.size for stamp in stamps)

        def more(count: int) -> None:
            nonlocal read
            read += count

        def tell(counts: Counts, end: bool = False) -> None:
            if progress:
                progress(Progress(size if end else read, size, counts.documents, counts.tokens))

        documents = (document for source in sources for document in source.documents(more))
        try:
            with whole_directory(directory) as partial:
                _write(partial, backend, documents, tokenizer.unk_token_id, tell)
                _check_unchanged(sources, stamps)
        except UserError:
            if not directory.exists():  # else another process was faster, and wrote the same
                raise
    return _opened(directory, bos, eos, hashlib.sha256(json.dumps(content).encode()).hexdigest())


def _write(
    directory: Path, backend: Tokenizer, documents: Iterable[str], unk: int | None, tell: Callable[..., None]
) -> None:
    counts = Counts(0, 0, 0, 0, -1)
    with (directory / "tokens.int32").open("wb") as tokens, (directory / "ends.int64").open("wb") as ends:
        for batch in encoded(backend, documents):
            tokens.write(batch.tokens.astype("<i4", copy=False).data)
            ends.write((counts.tokens + np.cumsum(batch.lengths)).astype("<i8").data)
            counts += Counts.of(batch, unk)
            tell(counts)
    tell(counts, end=True)
    (directory / "counts.json").write_text(json.dumps(asdict(counts), indent=1) + "\n")


def _check_unchanged(sources: Sequence[Source], stamps: Sequence[tuple]) -> None:
    for source, stamp in zip(sources, stamps, strict=True):
        if source.stamp() != stamp:
            raise UserError(f"{source} changed while it was read; run again when it is at rest")


def _opened(directory: Path, bos: int, eos: int | None, content: str) -> TokenStore:
    try:
        counts = Counts(**json.loads((directory / "counts.json").read_text()))
        tokens, ends = mapped(directory / "tokens.int32", "<i4"), mapped(directory / "ends.int64", "<i8")
    except (OSError, ValueError, TypeError):
        raise _damaged(directory) from None
    if len(tokens) != counts.tokens or len(ends) != counts.documents:
        raise _damaged(directory)
    return TokenStore(tokens, ends, bos, eos, counts, directory, content)


def _damaged(directory: Path) -> UserError:
    return UserError(f"the token cache {directory} is damaged; remove it, and it is made again")


def mapped(path: Path, dtype: str) -> np.ndarray:
    """A file of numbers, memory-mapped; an empty one cannot be, and is an empty array."""
    return np.memmap(path, dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype)
