"""How many tokens rows have: near enough for an estimate, and fast."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from transformers import PreTrainedTokenizerBase

from saltjax.data.encode import plain_backend
from saltjax.data.template import Template
from saltjax.study.rows import Row

AT_ONCE = 4096  # rows


class Counter:
    """With one tokenizer and template: the tokens of a row's texts, and what the template adds to the first row."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: Template):
        self._backend, self._template = plain_backend(tokenizer), template

    def __call__(self, rows: Sequence[Row], asked: bool = False) -> Int[np.ndarray, " rows"]:
        """Of every row, or with `asked` of what comes before its answer."""
        texts = ["\n".join(turn["content"] for turn in (row.asked if asked else row.messages)) for row in rows]
        found = np.array([n for at in range(0, len(texts), AT_ONCE) for n in self._lengths(texts[at : at + AT_ONCE])])
        marked = self._template.marked(rows[0].messages, "the first row")
        whole = marked.cuts[-1][0] if asked else marked.text
        return found + self._lengths([whole])[0] - int(found[0])

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(one.ids) for one in self._backend.encode_batch_fast(texts, add_special_tokens=False)]
