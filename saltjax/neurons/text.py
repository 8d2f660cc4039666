"""Text by language, as windows: those of bits per byte, in any format that training reads."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from transformers import PreTrainedTokenizerBase

from saltjax.data.corpus import Source
from saltjax.data.folder import sources_of
from saltjax.data.tokens import Progress, tokenized
from saltjax.data.windows import Windows
from saltjax.errors import UserError


class Text(NamedTuple):
    """Some windows of a text: pieces of `seq_len - 1` tokens of a document, each behind a BOS, several in a window."""

    windows: Windows
    chosen: Int[np.ndarray, " n"]

    @property
    def tokens(self) -> int:
        """Those that count: all but BOS."""
        return sum(self.windows.text_tokens(int(index)) for index in self.chosen)

    def rows(self, start: int, count: int) -> dict[str, Int[np.ndarray, "rows seq_len"]]:
        """`tokens segments positions` of the chosen windows `start`, ...; rows behind the last one are padding."""
        rows = {name: np.zeros((count, self.windows.seq_len), np.int32) for name in ("tokens", "segments", "positions")}
        for row, index in enumerate(self.chosen[start : start + count]):
            self.windows.write(int(index), *(values[row] for values in rows.values()))
        return rows


def by_language(values: Sequence[str | Path]) -> dict[str, list[str]]:
    """{language: its files} of LANG=FILE...; UserError for none, and for a value without language."""
    if not values:
        raise UserError("give text by language: --text LANG=FILE...")
    found: dict[str, list[str]] = {}
    for value in map(str, values):
        language, equals, path = value.partition("=")
        if not (language and equals and path):
            raise UserError(f"--text {value}: name the language too, as in --text de={value or 'FILE'}")
        found.setdefault(language, []).append(path)
    return found


def texts(
    values: Sequence[str | Path],
    tokenizer: PreTrainedTokenizerBase,
    seq_len: int,
    cache: Path,
    most_tokens: int | None = None,
    progress: Callable[[str, Progress], None] | None = None,
) -> dict[str, Text]:
    """The text of each language: its first windows until `most_tokens` are reached.

    Raises UserError: see `by_language`, `data.folder.sources_of`, `data.tokens.tokenized`; no token in a language.
    """
    files = by_language(values)
    sources: dict[str, list[Source]] = {
        language: [source for path in paths for source in sources_of(path).sources] for language, paths in files.items()
    }
    found = {}
    for language, own in sources.items():
        tell = None if progress is None else (lambda now, language=language: progress(language, now))
        store = dataclasses.replace(tokenized(own, tokenizer, cache, tell), eos=None)
        windows = Windows(store, seq_len)
        if not len(windows):
            raise UserError(f"{', '.join(files[language])}: the tokenizer gives no token for any document of it")
        found[language] = Text(windows, _first(windows, most_tokens))
    return found


def _first(windows: Windows, most_tokens: int | None) -> Int[np.ndarray, " n"]:
    everything = np.arange(len(windows))
    if most_tokens is None:
        return everything
    before = np.cumsum([windows.text_tokens(int(index)) for index in everything])
    return everything[: int(np.searchsorted(before, most_tokens)) + 1]


def split(text: Text) -> tuple[Text, Text]:
    """Every third window, and the others: to set thresholds on one part and count on the other (10 % and 20 % of the
    data in the published code)."""
    first = np.arange(len(text.chosen)) % 3 == 0
    return text._replace(chosen=text.chosen[first]), text._replace(chosen=text.chosen[~first])
