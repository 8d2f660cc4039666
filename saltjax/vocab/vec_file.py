"""fastText's text vectors (`.vec`, word2vec's text format): one streaming pass keeps only the words asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float

from saltjax.errors import UserError


@dataclass(frozen=True)
class VecFile:
    path: Path
    words: int
    dim: int

    def compose(self, words: Sequence[str]) -> Float[np.ndarray, "n a"]:
        """The exact entry of each word, a row of zeros where there is none; of a word given twice, the first entry.

        Reads the whole file (4 GB for a published one) once: ask for all words in one call. Raises UserError with the
        line number: a wrong number of values, a value that is no finite number, fewer or more lines than announced.
        """
        wanted = {word.encode(): n for n, word in enumerate(words)}
        vectors = np.zeros((len(words), self.dim), np.float32)
        number = 1
        with self.path.open("rb") as file:
            next(file)
            for number, line in enumerate(file, start=2):
                row = wanted.pop(line[: line.find(b" ")], None)
                if row is not None:
                    vectors[row] = self._values(line, number)
        if number - 1 != self.words:
            raise UserError(
                f"{self.path} is truncated or damaged: {number - 1:,} vectors where its first line "
                f"announces {self.words:,}; download it again"
            )
        return vectors

    def frequent(self, count: int) -> list[str]:
        """The first `count` words of the file."""
        with self.path.open("rb") as file:
            next(file)
            found = (line[: line.find(b" ")].decode(errors="replace") for line in islice(file, count))
            return list(dict.fromkeys(word for word in found if word != "</s>"))

    def _values(self, line: bytes, number: int) -> Float[np.ndarray, " a"]:
        fields = line.rstrip().split(b" ")[1:]
        try:
            values = np.array(fields, np.float32)
        except ValueError:
            values = np.array([np.nan], np.float32)
        if values.shape != (self.dim,) or not np.isfinite(values).all():
            raise UserError(
                f"{self.path} line {number}: {self.dim} finite numbers belong after the word, found {len(fields)} "
                "fields; download it again"
            )
        return values


def read_vec(path: Path) -> VecFile:
    """Check the first line (`count dim`) and the last one of a `.vec` file; `compose` checks the rest.

    Raises UserError: empty, cut within its last line, or another format (GloVe's has no first line).
    """
    with path.open("rb") as file:
        head = file.readline(200)
        size = file.seek(0, 2)
        file.seek(max(0, size - (1 << 20)))
        lines = file.read().removesuffix(b"\n").split(b"\n")
    if not head.strip():
        raise UserError(f"{path} is empty; take a fastText .bin or .vec file, or train one with --aux-text")
    if head.startswith(b"\x1f\x8b"):
        raise UserError(f"{path} is packed with gzip; unpack it first (gunzip)")
    try:
        count, dim = (int(field) for field in head.split())
    except ValueError:
        count = dim = 0
    if count < 1 or dim < 1:
        raise UserError(f"{path} is not a .vec file: its first line must be the number of words and of dimensions")
    found = VecFile(path, count, dim)
    if len(lines) > 1:  # else the last line is longer than what was read, or the only one: `compose` finds out
        found._values(lines[-1], count + 1)
    return found
