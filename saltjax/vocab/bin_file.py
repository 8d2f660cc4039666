"""fastText's binary model (`.bin`): word vectors composed from subwords, read through a memory map.

A published model is 7 GB, most of it hashed n-grams that no token needs: only the rows asked for leave the disk.
"""

import mmap
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from gensim.models.fasttext import ft_ngram_hashes
from jaxtyping import Float

from saltjax.errors import UserError

_MAGIC = 793712314
_ARGS = struct.Struct("<12id")  # dim ws epoch minCount neg wordNgrams loss model bucket minn maxn lrUpdateRate | t


@dataclass(frozen=True)
class BinFile:
    """Where things are in an unsupervised fastText model; `words_at` and `rows_at` are byte offsets."""

    path: Path
    dim: int
    buckets: int
    min_n: int
    max_n: int
    words: int
    words_at: int
    rows_at: int

    def compose(self, words: Sequence[str]) -> Float[np.ndarray, "n a"]:
        """fastText's vector of a word: the mean of its own row (if it is in the dictionary) and of the rows of its
        n-grams, of `<word>` with min_n to max_n characters (Bojanowski et al. 2017, as `getWordVector` has it). A row
        of zeros where there is neither: with no n-grams in the model, or with a word too short for one."""
        wanted = {word.encode(): None for word in words}
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            ids = {
                word: n for n, (word, _) in enumerate(_entries(content, self.words_at, self.words)) if word in wanted
            }
        table = np.memmap(self.path, np.dtype("<f4"), "r", self.rows_at, (self.words + self.buckets, self.dim))
        vectors = np.zeros((len(words), self.dim), np.float32)
        for n, word in enumerate(words):
            rows = [ids[word.encode()]] if word.encode() in ids else []
            if self.buckets and self.max_n > 0 and word != "</s>":  # the end-of-line token has no n-grams
                hashes = ft_ngram_hashes(word, max(self.min_n, 1), self.max_n, self.buckets)
                rows += [self.words + h for h in hashes]
            if rows:
                vectors[n] = table[rows].mean(axis=0)
        if not np.isfinite(vectors).all():
            bad = words[int(np.argmin(np.isfinite(vectors).all(axis=1)))]
            raise UserError(f"{self.path}: the vector of {bad!r} is not finite; take another fastText model")
        return vectors

    def frequent(self, count: int) -> list[str]:
        """The first `count` words of the dictionary."""
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            entries = islice(_entries(content, self.words_at, self.words), count)
            found = [word.decode(errors="replace") for word, _ in entries]
        return [word for word in found if word != "</s>"]


def read_bin(path: Path) -> BinFile:
    """Check that a file is a whole, unsupervised, unquantised fastText model, against its own size.

    Raises UserError: empty, truncated (its headers ask for more bytes than there are), too long, or another format.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if not size:
            raise UserError(f"{path} is empty; take a fastText .bin or .vec file, or train one with --aux-text")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                found, end = _layout(path, content)
            except (struct.error, EOFError):
                raise _truncated(path, size) from None
    if end > size:
        raise _truncated(path, size)
    if end < size:
        raise UserError(f"{path} has {size - end:,} bytes after its last matrix: not a fastText model; take another")
    return found


def _layout(path: Path, content: mmap.mmap) -> tuple[BinFile, int]:
    if content[:2] == b"\x1f\x8b":
        raise UserError(f"{path} is packed with gzip; unpack it first (gunzip)")
    magic, version = struct.unpack_from("<2i", content, 0)
    if magic != _MAGIC or version not in (11, 12):
        raise UserError(f"{path} is not a fastText .bin model; give a .bin, or name a text file of vectors .vec")
    dim, _, _, _, _, _, _, model, buckets, min_n, max_n, _, _ = _ARGS.unpack_from(content, 8)
    at = 8 + _ARGS.size
    entries, words, labels, _, pruned = struct.unpack_from("<3i2q", content, at)
    if model == 3 or labels or entries != words:
        raise UserError(f"{path} is a fastText classifier; give a model of words (skipgram or cbow)")
    words_at = at = at + struct.calcsize("<3i2q")
    for _, at in _entries(content, words_at, words):  # noqa: B007 (the last offset is what counts)
        pass
    at += 8 * max(pruned, 0)
    quantised, rows, columns = struct.unpack_from("<?2q", content, at)
    if quantised or pruned > 0:
        raise UserError(f"{path} is a quantised fastText model (.ftz); give the full .bin")
    if (rows, columns) != (words + buckets, dim) or min(rows, dim, buckets) < 0:
        raise UserError(f"{path}: a table of {rows} x {columns} where {words} words, {buckets} buckets of {dim} belong")
    rows_at = at + struct.calcsize("<?2q")
    output = rows_at + 4 * rows * columns
    _, rows, columns = struct.unpack_from("<?2q", content, output)
    return BinFile(path, dim, buckets, min_n, max_n, words, words_at, rows_at), output + 17 + 4 * rows * columns


def _entries(content: mmap.mmap, at: int, count: int) -> Iterator[tuple[bytes, int]]:
    """The dictionary's words with the offset behind each: text, 0, count (int64), type (int8)."""
    for _ in range(count):
        end = content.find(b"\0", at)
        if end < 0:
            raise EOFError
        word, at = content[at:end], end + 10
        yield word, at


def _truncated(path: Path, size: int) -> UserError:
    return UserError(f"{path} is truncated: it ends after {size:,} bytes, before its tables do; download it again")
