"""What a study will take, from its data and its models' shapes: tokens, steps, flops, hours of a device."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from saltjax.errors import UserError
from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import abstract_model
from saltjax.study.design import Length
from saltjax.train.chips import CHIPS, Chip
from saltjax.train.config import AdaptConfig
from saltjax.train.flops import step_flops, token_flops
from saltjax.train.lora import with_adapters
from saltjax.train.plan import MFU
from saltjax.train.sharding import leaves
from saltjax.train.trainable import Mask, count, trainable

# Of the peak, in generation: a token a row at a time is bound by memory. Ours, a guess for batches of a few dozen rows.
GENERATION_MFU = 0.02


class Cost(NamedTuple):
    """Of one run. `tokens` are those of its data, once; flops of the training, and of the answers if all of them are
    as long as they may be."""

    tokens: int
    steps: int
    train_flops: float
    test_flops: float

    def hours(self, chip: Chip, chips: int) -> float:
        peak = chip.flops * chips * 3600
        return self.train_flops / (peak * MFU) + self.test_flops / (peak * GENERATION_MFU)


class Subject(NamedTuple):
    """Of a model: flops of a step and of a token forward, the tokens of a step."""

    step_flops: float
    forward_flops: float
    step_tokens: int


def subject(decoder: DecoderConfig, config: AdaptConfig) -> Subject:
    """Raises UserError: what is trainable does not fit the model."""
    _, params = abstract_model(decoder)
    base = with_adapters(params, config)
    masks = [trainable(base, spec) for spec in config.specs]
    mask = max(masks, key=lambda one: count(base, one))
    flops = step_flops(decoder, base, mask, config.batch_size, config.seq_len)
    nothing: Mask = {path: False for path, _ in leaves(params)}
    forward = token_flops(decoder, params, nothing, config.seq_len)
    return Subject(flops, forward, config.batch_size * config.seq_len)


def steps(length: Length, tokens: int, step_tokens: int) -> int:
    """Of a run: those asked for, or the epochs' tokens packed into full windows, rounded up."""
    if length.unit == "steps":
        return int(length.number)
    return max(1, math.ceil(length.number * tokens / step_tokens))


def cost(of: Subject, length: Length, tokens: int, answers: Sequence[tuple[int, int]]) -> Cost:
    """`answers`: (tokens of the prompts, tokens that may be written) of each test."""
    count = steps(length, tokens, of.step_tokens)
    return Cost(tokens, count, count * of.step_flops, of.forward_flops * sum(map(sum, answers)))


def totals(lengths: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " sums"]:
    """[n]: tokens of the first n rows."""
    return np.concatenate([[0], np.cumsum(lengths)])


def device(name: str) -> tuple[Chip, int]:
    """`H100`, `8xH100`, `TPU v5p`, `16xv5e`: a chip of `train.chips`, and how many. Raises UserError."""
    number, _, kind = name.rpartition("x") if name[:1].isdigit() else ("1", "", name)
    wanted = kind.lower().removeprefix("tpu").replace(" ", "").replace("-", "")
    known = {chip.name.lower().removeprefix("tpu").replace(" ", ""): chip for chip in CHIPS.values()}
    if wanted not in known or not number.isdigit() or int(number) < 1:
        names = ", ".join(chip.name for chip in CHIPS.values())
        raise UserError(f"--device {name}: not known; write one of {names}, or 8xH100 for eight")
    return known[wanted], int(number)


def summary(costs: Sequence[Cost]) -> dict[str, Any]:
    return {
        "tokens": sum(one.tokens for one in costs),
        "steps": sum(one.steps for one in costs),
        "train_flops": sum(one.train_flops for one in costs),
        "test_flops": sum(one.test_flops for one in costs),
    }
