"""The learning rate as a function of the step: one schedule over all phases of a run."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from saltjax.train.config import AdaptConfig


def learning_rate(step: Int[Array, ""], config: AdaptConfig) -> Float[Array, ""]:
    """Step s = 0, 1, ...: peak * (s+1)/warmup while s < warmup, without a step of rate zero; then, with x from 0 to 1
    over the steps of the last part and r = final_learning_rate_ratio,

    cosine:   peak * (r + (1-r) (1 + cos(pi x)) / 2), x over all steps that are left (Loshchilov & Hutter 2017)
    constant: peak
    wsd:      peak, then peak * (r + (1-r) (1 - sqrt x)), x over the last `decay_steps` (warm-up, stable, decay: Hu et
              al. 2024, arXiv 2404.06395; this form of the decay: Haegele et al. 2024, arXiv 2405.18392). Before the
              decay it does not depend on `steps`, so the stable part can be prolonged without another warm-up.
    """
    s = step.astype(jnp.float32)
    warm = (s + 1) / max(config.warmup_steps, 1)
    ratio = config.final_learning_rate_ratio
    if config.schedule == "cosine":
        done = jnp.clip((s - config.warmup_steps) / max(config.steps - config.warmup_steps, 1), 0, 1)
        after = ratio + (1 - ratio) * 0.5 * (1 + jnp.cos(math.pi * done))
    elif config.schedule == "wsd" and config.decay_steps:
        done = jnp.clip((s - decay_start(config)) / config.decay_steps, 0, 1)
        after = ratio + (1 - ratio) * (1 - jnp.sqrt(done))
    else:
        after = jnp.ones(())
    return config.learning_rate * jnp.where(s < config.warmup_steps, warm, after)


def decay_start(config: AdaptConfig) -> int:
    """The first step of which the rate depends on how long the run will be (`wsd` only)."""
    return max(config.steps - config.decay_steps, config.warmup_steps)
