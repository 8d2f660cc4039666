"""Held-out examples: how well a model predicts answers that it did not learn from."""

import dataclasses
import math
import sys
from pathlib import Path

import numpy as np

from saltjax.data.encode import Batch, Counts
from saltjax.data.examples import ExampleFile
from saltjax.data.examplewindows import example_windows
from saltjax.data.template import Template
from saltjax.data.tokens import TokenStore
from saltjax.evaluate.bits_per_byte import HeldOut


def held_examples(path: str | Path, template: Template, seq_len: int) -> HeldOut:
    """Examples to be scored by `bits_per_byte.score`: the bits of their answers with the token that ends each, divided
    by the answers' UTF-8 bytes (ours: so the number can be compared between vocabularies, like that of text).

    Of those longer than `seq_len` neither bits nor bytes count; stderr says how many. `counts.tokens` are those scored.

    Raises UserError: see `examples.messages`, `Template`; every example is longer than `seq_len`.
    """
    batches = list(template.encoded(ExampleFile(path).documents()))
    found = Batch(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))
    ends = np.cumsum(found.lengths)
    counts = Counts.of(found, template.unknown)
    windows = example_windows(TokenStore(found.tokens, ends, 0, None, counts, learns=found.learns), seq_len, str(path))
    if windows.too_long:
        print(
            f"{path}: {windows.too_long:,} examples are longer than seq_len={seq_len} and not scored", file=sys.stderr
        )
    size = np.where(found.lengths <= seq_len, found.bytes, 0)
    return HeldOut(windows, size, dataclasses.replace(counts, tokens=windows.answer_tokens))


def nats(bits_per_byte: float, held: HeldOut) -> float:
    """The same score as the mean over tokens that training minimises."""
    return bits_per_byte * math.log(2) * float(held.bytes.sum()) / held.counts.tokens
