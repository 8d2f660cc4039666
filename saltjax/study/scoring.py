"""The answers of a model to the test rows of one task and language, and what they are worth."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.sharding import NamedSharding
from transformers import PreTrainedTokenizerBase

from saltjax.data.encode import plain_backend
from saltjax.data.template import Template
from saltjax.errors import UserError
from saltjax.evaluate.answers import written
from saltjax.models.model import Model
from saltjax.study.identify import Identifier
from saltjax.study.metrics import Metric
from saltjax.study.rows import Row


class Subject(NamedTuple):
    """A model that answers as it was trained to: `template` is that of its training."""

    model: Model
    tokenizer: PreTrainedTokenizerBase
    template: Template
    dtype: Any = jnp.float32
    batch_size: int = 32
    sharding: NamedSharding | None = None


class Answer(NamedTuple):
    text: str
    truncated: bool  # the prompt lost its beginning


def answers(subject: Subject, rows: Sequence[Row], max_new: int) -> list[Answer]:
    """Greedy answers of at most `max_new` tokens, or half of the positions.

    Raises UserError: the template refuses a row; the tokenizer does not belong to the model.
    """
    positions = subject.model.config.max_positions
    max_new = min(max_new, positions // 2)
    marked = [subject.template.marked(row.messages, f"test row {n}") for n, row in enumerate(rows, 1)]
    backend = plain_backend(subject.tokenizer)
    ids = [one.ids for one in backend.encode_batch_fast([one.cuts[-1][0] for one in marked], add_special_tokens=False)]
    if max(map(max, ids)) >= subject.model.config.vocab_size:
        raise UserError("the tokenizer gives an id for which the model has no row; they do not belong together")
    longest = positions - max_new
    # What ends an answer in training ends it here: the template's own token, which need not be EOS.
    ends = {backend.encode(marked[0].cuts[-1][1], add_special_tokens=False).ids[-1], subject.tokenizer.eos_token_id}
    texts = [""] * len(rows)
    done = written(
        subject.model,
        subject.tokenizer,
        [one[-longest:] for one in ids],
        (),
        max_new,
        eos_ids=sorted(end for end in ends if end is not None),
        dtype=subject.dtype,
        batch_size=subject.batch_size,
        sharding=subject.sharding,
    )
    for number, text in done:
        texts[number] = text.strip()
    return [Answer(text, len(one) > longest) for text, one in zip(texts, ids, strict=True)]


def scored(
    rows: Sequence[Row], texts: Sequence[str], language: str, metric: Metric, identifier: Identifier | None
) -> dict[str, Any]:
    """score (the metric's first value, mean), the other means, n, wrong_language (share of answers in another language
    of the study), undecided (share of those too short or doubtful to tell), and `values`, those of every answer."""
    values = metric(rows, texts, language)
    means = {name: sum(some) / len(some) for name, some in values.items()}
    found: dict[str, Any] = {"score": next(iter(means.values())), **means, "n": len(rows)}
    if identifier:
        languages = identifier(texts)
        found["wrong_language"] = sum(one not in (None, language) for one in languages) / len(texts)
        found["undecided"] = languages.count(None) / len(texts)
    return found | {"values": values}
