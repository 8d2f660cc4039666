"""Staged freezing: what learns until which step, before the run's `trainable` begins."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from saltjax.errors import UserError

FORM = "write for instance stages=[{until: 500, train: embeddings}]"


@dataclasses.dataclass(frozen=True)
class Stage:
    """`train` (as `trainable`) learns before step `until`; below 1 that is a share of the run's steps."""

    until: int | float
    train: str


def read_stages(value: Any) -> tuple[Stage, ...]:
    """Stages from plain YAML values. UserError: not a list of {until, train} with ascending steps."""
    if not isinstance(value, list | tuple):
        raise UserError(f"stages={value!r} is not a list; {FORM}")
    found = []
    for one in value:
        one = dataclasses.asdict(one) if isinstance(one, Stage) else one
        if not isinstance(one, dict) or set(one) != {"until", "train"}:
            raise UserError(f"stages: {one!r} needs until and train, and nothing else; {FORM}")
        until = one["until"]
        whole = until >= 1 if isinstance(until, int) else isinstance(until, float) and 0 < until < 1
        if isinstance(until, bool) or not whole:
            raise UserError(f"stages: until={until!r} is neither a step from 1 on nor a share between 0 and 1")
        found.append(Stage(until, str(one["train"])))
    return tuple(found)


def in_steps(stages: Sequence[Stage], steps: int) -> tuple[Stage, ...]:
    """The stages with shares turned into steps. UserError unless they ascend."""
    found = tuple(
        stage if isinstance(stage.until, int) else Stage(max(round(stage.until * steps), 1), stage.train)
        for stage in stages
    )
    for one, following in itertools.pairwise(found):
        if following.until <= one.until:
            raise UserError(f"stages: until={following.until} must come after until={one.until}")
    return found


def spec_at(stages: Sequence[Stage], last: str, step: int) -> str:
    """What learns in step number `step` (from 0): that of the first stage that is not over, else `last`."""
    return next((stage.train for stage in stages if step < stage.until), last)
