"""Token ids of a corpus, made once and kept on disk."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from jaxtyping import Bool, Int
from transformers import PreTrainedTokenizerBase

import saltjax
from saltjax.data.corpus import Source
from saltjax.data.encode import Batch, Counts, begin_of_text, encoded, plain_backend
from saltjax.data.fingerprint import fingerprints
from saltjax.data.template import Template
from saltjax.errors import UserError
from saltjax.hub.directory import whole_directory

FORMAT = 2  # of the cache
NAMES = ("tokens.int32", "ends.int64", "learns.bool")  # the last one of examples only


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
    learns: Bool[np.ndarray, " tokens"] | None = None  # of examples: the tokens of answers; specials are in `tokens`


def tokenized(
    sources: Sequence[Source],
    tokenizer: PreTrainedTokenizerBase,
    cache_dir: str | Path,
    progress: Callable[[Progress], None] | None = None,
    template: Template | None = None,
) -> TokenStore:
    """The store of these sources, in the order given; with a `template` they are `ExampleFile`s.

    Made in `cache_dir/<fingerprint>` and only opened the next time. The fingerprint covers the content of every source,
    the tokenizer, its BOS, EOS and unk, the template, and the versions of this package and of `tokenizers`. It appears
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
    key = [
        versions,
        backend.to_str(),
        bos,
        eos,
        tokenizer.unk_token_id,
        content,
        *([template.text] if template else []),
    ]
    directory = Path(cache_dir) / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    if not directory.exists():
        read, size = 0, sum(stamp.size for stamp in stamps)

        def more(count: int) -> None:
            nonlocal read
            read += count

        def tell(counts: Counts, end: bool = False) -> None:
            if progress:
                progress(Progress(size if end else read, size, counts.documents, counts.tokens))

        documents: Any = (document for source in sources for document in source.documents(more))
        made = template.encoded(documents) if template else encoded(backend, documents)
        try:
            with whole_directory(directory) as partial:
                _write(partial, made, tokenizer.unk_token_id, tell, NAMES[: 3 if template else 2])
                _check_unchanged(sources, stamps)
        except UserError:
            if not directory.exists():  # else another process was faster, and wrote the same
                raise
    known = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return _opened(directory, bos, eos, known, template is not None)


def _write(
    directory: Path, batches: Iterable[Batch], unk: int | None, tell: Callable[..., None], names: Sequence[str]
) -> None:
    counts = Counts(0, 0, 0, 0, -1)
    with ExitStack() as stack:
        files = [stack.enter_context((directory / name).open("wb")) for name in names]
        for batch in batches:
            ends = counts.tokens + np.cumsum(batch.lengths)
            for file, array in zip(files, (batch.tokens.astype("<i4"), ends.astype("<i8"), batch.learns), strict=False):
                file.write(np.ascontiguousarray(array).data)
            counts += Counts.of(batch, unk)
            tell(counts)
    tell(counts, end=True)
    (directory / "counts.json").write_text(json.dumps(asdict(counts), indent=1) + "\n")


def _check_unchanged(sources: Sequence[Source], stamps: Sequence[tuple]) -> None:
    for source, stamp in zip(sources, stamps, strict=True):
        if source.stamp() != stamp:
            raise UserError(f"{source} changed while it was read; run again when it is at rest")


def _opened(directory: Path, bos: int, eos: int | None, content: str, of_examples: bool) -> TokenStore:
    try:
        counts = Counts(**json.loads((directory / "counts.json").read_text()))
        tokens, ends = mapped(directory / NAMES[0], "<i4"), mapped(directory / NAMES[1], "<i8")
        learns = mapped(directory / NAMES[2], "?") if of_examples else None
    except (OSError, ValueError, TypeError):
        raise _damaged(directory) from None
    marked = len(tokens) if learns is None else len(learns)
    if not len(tokens) == counts.tokens == marked or len(ends) != counts.documents:
        raise _damaged(directory)
    return TokenStore(tokens, ends, bos, eos, counts, directory, content, learns)


def _damaged(directory: Path) -> UserError:
    return UserError(f"the token cache {directory} is damaged; remove it, and it is made again")


def mapped(path: Path, dtype: str) -> np.ndarray:
    """A file of numbers, memory-mapped; an empty one cannot be, and is an empty array."""
    return np.memmap(path, dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype)
