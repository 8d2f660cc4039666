"""Answers that the model writes: greedy text after each prompt, up to a stop string, EOS or so many tokens."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.sharding import NamedSharding
from transformers import PreTrainedTokenizerBase

from saltjax.data.encode import plain_backend
from saltjax.models.generation import generate
from saltjax.models.model import Model

ROUND = 128  # new tokens after which texts that reached a stop string are done and the others begin anew with theirs
SLICE = 8  # batches that go through the rounds together, so that batches stay full as texts get done


class Prompts(NamedTuple):
    ids: list[list[int]]
    unknown: int  # tokens that are unk
    truncated: int  # prompts that lost their beginning


def prompts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], longest: int) -> Prompts:
    """Prompts as ids, with the tokenizer's specials; of more than `longest` the last are kept (lm-eval's rule)."""
    ids = [encoded.ids for encoded in plain_backend(tokenizer).encode_batch_fast(list(texts), add_special_tokens=True)]
    unk = tokenizer.unk_token_id
    unknown = sum(row.count(unk) for row in ids) if unk is not None else 0
    return Prompts([row[-longest:] for row in ids], unknown, sum(len(row) > longest for row in ids))


def written(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[list[int]],
    stops: Sequence[str],
    max_new: int,
    *,
    eos_ids: Sequence[int] = (),
    dtype: Any = jnp.float32,
    batch_size: int = 32,
    sharding: NamedSharding | None = None,
) -> Iterator[tuple[int, str]]:
    """(number of the prompt, text without the stop string), in the order in which they get done.

    Generation cannot look for strings. It ends a row at tokens that hold a whole stop string (a line end does nearly
    always), and after every `ROUND` tokens the texts are looked at here.
    """
    stops = spelled(tokenizer, stops)
    ends = [*eos_ids, *holding(tokenizer, tuple(stops))]
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    for start in range(0, len(order), SLICE * batch_size):
        open_rows = order[start : start + SLICE * batch_size]
        new: dict[int, list[int]] = {i: [] for i in open_rows}
        left = max_new
        while open_rows:
            more = generate(
                model,
                [ids[i] + new[i] for i in open_rows],
                min(ROUND, left),
                eos_ids=ends,
                dtype=dtype,
                batch_size=batch_size,
                rows=sharding,
            )
            left -= min(ROUND, left)
            again = []
            for i, fresh in zip(open_rows, more, strict=True):
                new[i] += fresh
                text = str(tokenizer.decode(new[i], skip_special_tokens=True, clean_up_tokenization_spaces=False))
                cut = min((at for stop in stops if (at := text.find(stop)) >= 0), default=None)
                if cut is None and left and not (fresh and fresh[-1] in ends):
                    again.append(i)
                else:
                    yield i, text[:cut]
            open_rows = again


def spelled(tokenizer: PreTrainedTokenizerBase, stops: Sequence[str]) -> list[str]:
    """The stop strings, and each as this tokenizer writes it (`frage :` for `Frage:`), which is what can appear."""
    backend = plain_backend(tokenizer)
    ids = [backend.encode(stop, add_special_tokens=False).ids for stop in stops]
    whole = [row for row in ids if tokenizer.unk_token_id not in row]  # else too little of it is left
    own = [backend.decode(row).strip() for row in whole]
    return list(dict.fromkeys([*stops, *(stop for stop in own if any(map(str.isalnum, stop)))]))


@functools.lru_cache(maxsize=4)
def holding(tokenizer: PreTrainedTokenizerBase, stops: tuple[str, ...]) -> list[int]:
    """The tokens whose text has a whole stop string in it."""
    texts = tokenizer.backend_tokenizer.decode_batch([[i] for i in range(len(tokenizer))], skip_special_tokens=False)
    return [i for i, text in enumerate(texts) if any(stop in text for stop in stops)]
