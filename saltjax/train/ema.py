"""An exponential moving average of what learns: often better than the last parameters, and for the price of reading
and writing 4 bytes more for each number that learns (AdamW reads and writes 12).

After step t = 0, 1, ... of a parameter, mean <- d mean + (1 - d) parameter with d = min(ema, (1 + t) / (10 + t)): a
short run forgets its beginning too (a ramp as in TensorFlow's ExponentialMovingAverage; Polyak & Juditsky 1992 for the
averaging). The mean lies in the optimizer's state of its parameter, so it is sharded, saved and carried from stage to
stage as that is. What no longer learns has no mean: it is what it is.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from saltjax.train.trainable import Mask, merge, select

SUFFIX = " (ema)"  # of a held-out text's name, where it was scored with the means


class Averaged(NamedTuple):
    """The state of a parameter: the optimizer's own, the mean in float32, and after how many steps."""

    inner: Any
    mean: Float[Array, "..."]
    updates: Int[Array, ""]


def begun(inner: Any, parameter: Array) -> Averaged:
    return Averaged(inner, jnp.asarray(parameter, jnp.float32), jnp.zeros((), jnp.int32))


def followed(before: Averaged, inner: Any, parameter: Array, ema: float) -> Averaged:
    """The state after a step that gave `inner` and `parameter`."""
    t = before.updates.astype(jnp.float32)
    decay = jnp.minimum(ema, (1 + t) / (10 + t))
    return Averaged(inner, before.mean + (1 - decay) * (parameter - before.mean), before.updates + 1)


def with_means(params: dict, states: dict[str, Averaged], mask: Mask) -> dict:
    """`params` with the means of what learns in its place."""
    return merge(params, {path: states[path].mean for path in select(params, mask)}, mask)
