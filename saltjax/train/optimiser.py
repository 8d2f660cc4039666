"""AdamW with warm-up, cosine and clipping, one parameter at a time.

Each learning parameter has its own optimizer state {path: state}, with its own step count for the bias correction.
So frozen parameters cost nothing, what joins later (`embeddings_first`) starts fresh while the rest carries on, and a
state lies on the mesh where its parameter lies.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from saltjax.train.config import AdaptConfig
from saltjax.train.trainable import Mask, select


def learning_rate(step: Int[Array, ""], config: AdaptConfig) -> Float[Array, ""]:
    """Step s = 0, 1, ...: peak * (s+1)/warmup while s < warmup, then half a cosine from peak down to ratio * peak
    over the steps that are left. One schedule over all phases of a run; without a step of rate zero."""
    s = step.astype(jnp.float32)
    warm = (s + 1) / max(config.warmup_steps, 1)
    done = jnp.clip((s - config.warmup_steps) / max(config.steps - config.warmup_steps, 1), 0, 1)
    ratio = config.final_learning_rate_ratio
    cosine = ratio + (1 - ratio) * 0.5 * (1 + jnp.cos(math.pi * done))
    return config.learning_rate * jnp.where(s < config.warmup_steps, warm, cosine)


def _transform(path: str, config: AdaptConfig) -> optax.GradientTransformation:
    """Adam's direction, plus decay for matrices and tables (not for norms and biases)."""
    decays = not path.endswith(("norm.scale", "bias"))
    return optax.chain(
        optax.scale_by_adam(b1=config.beta1, b2=config.beta2, eps=1e-8),
        optax.add_decayed_weights(config.weight_decay if decays else 0.0),
    )


def init(params: dict, mask: Mask, config: AdaptConfig, carried: dict[str, Any] | None = None) -> dict[str, Any]:
    """{path: state} of what learns; a state in `carried` is kept when its shapes still fit, else it starts at zero."""
    states = {}
    for path, x in select(params, mask).items():
        fresh = _transform(path, config).init(x)
        kept = (carried or {}).get(path)
        fits = kept is not None and jax.tree.map(jnp.shape, kept) == jax.tree.map(jnp.shape, fresh)
        states[path] = kept if fits else fresh
    return states


def update(
    grads: dict[str, Any], states: dict[str, Any], learning: dict[str, Any], rate: Float[Array, ""], config: AdaptConfig
) -> tuple[dict[str, Any], dict[str, Any], Float[Array, ""]]:
    """(new parameters, new states, gradient norm before clipping). clip_norm=0 does not clip."""
    norm = optax.tree.norm(grads)
    scale = jnp.where(norm > config.clip_norm, config.clip_norm / norm, 1.0) if config.clip_norm else 1.0
    new, new_states = {}, {}
    for path, grad in grads.items():
        direction, new_states[path] = _transform(path, config).update(grad * scale, states[path], learning[path])
        new[path] = learning[path] - rate * direction
    return new, new_states, norm
