"""The auxiliary space: a vector for the text of a token, in the target language."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from saltjax.errors import UserError
from saltjax.vocab.bin_file import BinFile, read_bin
from saltjax.vocab.fasttext_training import Text, train
from saltjax.vocab.vec_file import VecFile, read_vec


@dataclass(frozen=True)
class Auxiliary:
    """dim: size of a vector. source: where the space comes from, for the report. notes: what a user should know.
    compose: distinct words -> vectors [n, dim], zeros for words it has none for. frequent: n -> its first n words, the
    most frequent of the text that it was trained on."""

    dim: int
    source: dict[str, Any]
    notes: list[str]
    compose: Callable[[Sequence[str]], np.ndarray]
    frequent: Callable[[int], list[str]]

    def vectors(self, words: Sequence[str | None]) -> Float[np.ndarray, "n a"]:
        """The vectors of words, float32; a row of zeros for None and for a word without a vector. Ask for all words in
        one call: a `.vec` file is read through each time."""
        distinct = sorted({word for word in words if word is not None})
        row_of = {word: n for n, word in enumerate(distinct)}
        table = np.zeros((len(distinct) + 1, self.dim), np.float32)  # the last row is that of None
        if distinct:
            table[:-1] = self.compose(distinct)
        return table[[len(distinct) if word is None else row_of[word] for word in words]]


def load_auxiliary(path: str | Path) -> Auxiliary:
    """A fastText `.bin` (words composed from subwords) or `.vec` (exact entries) file.

    Raises UserError: missing, empty, truncated, of another format, non-finite vectors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"auxiliary file {path} does not exist or is not a file")
    if path.suffix not in (".bin", ".vec"):
        raise UserError(
            f"auxiliary file {path} must be a fastText .bin or .vec file, not {path.suffix or 'nameless'!r}"
        )
    try:
        found: BinFile | VecFile = read_bin(path) if path.suffix == ".bin" else read_vec(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"auxiliary file {path} cannot be read: {error.strerror}") from None
    source = {"path": str(path), "bytes": path.stat().st_size, "sha256": digest, "words": found.words, "dim": found.dim}
    return Auxiliary(found.dim, source, [], found.compose, found.frequent)


def train_auxiliary(
    texts: Sequence[Text],
    seed: int = 0,
    normalize: Callable[[str], str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Auxiliary:
    """A fastText space trained on the user's text; see `fasttext_training.train` for what is trained how.

    normalize: applied to every document first, for a target tokenizer that lower-cases or strips accents
    (`vocabulary.normalizer_of`). progress: called with the fraction done, 0 to 1, from another thread.
    """
    trained = train(texts, seed, normalize, progress)
    return Auxiliary(trained.dim, trained.source, trained.notes, trained.compose, trained.frequent)
