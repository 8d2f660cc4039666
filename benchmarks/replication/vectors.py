"""Auxiliary word vectors, trained once a language and seed and kept as a fastText text file."""

import os
from collections.abc import Iterable
from pathlib import Path

from saltjax.data.corpus import TextFile
from saltjax.transfer.surgery import open_patient
from saltjax.vocab.auxiliary import train_auxiliary
from saltjax.vocab.vocabulary import word


def write_vectors(out: Path, text: Path, models: Iterable[Path], seed: int) -> Path:
    """The space that `--aux-text TEXT` would train, as a `.vec`: the text's words, the most frequent first, then what
    it composes for the words of all tokens of `models`. So every arm of a language and seed sees the same vectors."""
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        space = train_auxiliary([TextFile(text)], seed)
        words = dict.fromkeys(space.frequent(10**9))
        for model in models:
            words |= dict.fromkeys(filter(None, map(word, open_patient(model).vocabulary.tokens)))
        able = [one for one in words if not any(char.isspace() for char in one)]
        vectors = space.vectors(able)
        known = [(one, row) for one, row in zip(able, vectors, strict=True) if row.any()]
        partial = out.with_suffix(".partial")
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            file.write(f"{len(known)} {space.dim}\n")
            for one, row in known:
                file.write(f"{one} {' '.join(format(value, '.9g') for value in row.tolist())}\n")
        os.replace(partial, out)
    return out
