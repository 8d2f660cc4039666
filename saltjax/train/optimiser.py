"""AdamW, Adafactor, Lion or Muon with clipping, one parameter at a time.

Each learning parameter has its own optimizer state {path: state}, with its own step count for the bias correction.
So frozen parameters cost nothing, what joins later (`stages`) starts fresh while the rest carries on, and a state lies
on the mesh where its parameter lies.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from saltjax.train import ema
from saltjax.train.config import AdaptConfig
from saltjax.train.matrices import Axes, axes
from saltjax.train.trainable import EMBEDDINGS, Mask, select

# An update of Muon has this root mean square, as Adam's has: one learning rate for both (Liu et al. 2025, section 2.2).
MUON_RMS = 0.2


def _transform(path: str, ndim: int, config: AdaptConfig) -> optax.GradientTransformation:
    """The direction of the chosen optimizer, plus decay for matrices and tables (not for norms and biases)."""
    decays = not path.endswith(("norm.scale", "bias"))
    return optax.chain(
        _moments_in(_direction(path, ndim, config), config.moments_dtype),
        optax.add_decayed_weights(config.weight_decay if decays else 0.0),
    )


def _direction(path: str, ndim: int, config: AdaptConfig) -> optax.GradientTransformation:
    """adamw: Adam's. lion: the sign of a momentum (Chen et al. 2023). adafactor: g / RMS, where a big matrix keeps the
    second moment as a row and a column, clipped to a RMS of 1, no momentum (Shazeer & Stern 2018). muon: the momentum
    of a linear map made orthogonal, layer by layer (Jordan 2024); Adam's for tables, norms and biases."""
    if config.optimizer == "lion":
        return optax.scale_by_lion(b1=config.beta1, b2=config.beta2)
    if config.optimizer == "adafactor":
        return optax.chain(optax.scale_by_factored_rms(), optax.clip_by_block_rms(1.0))
    found = axes(path)
    if config.optimizer == "muon" and found and found.ndim == ndim:
        numbers = MuonDimensionNumbers(found.inputs, found.outputs)
        return optax.chain(scale_by_muon(beta=config.beta1, weight_dimension_numbers=numbers), _to_rms(found))
    return optax.scale_by_adam(b1=config.beta1, b2=config.beta2, eps=1e-8)


def _to_rms(found: Axes) -> optax.GradientTransformation:
    """An orthogonal m x n matrix has entries of size 1 / sqrt(max(m, n)); this brings them to MUON_RMS."""

    def scaled(update: Array) -> Array:
        return update * MUON_RMS * math.sqrt(max(math.prod(update.shape[i] for i in part) for part in found))

    return optax.stateless(lambda updates, params: jax.tree.map(scaled, updates))


def _moments_in(inner: optax.GradientTransformation, dtype: str) -> optax.GradientTransformation:
    """`inner` with the moments that are as large as the parameter kept in `dtype`, and computed in float32."""
    if dtype == "float32":
        return inner

    def cast(state: Any, like: Array, to: Any) -> Any:
        return jax.tree.map(lambda x: x.astype(to) if x.shape == like.shape and x.ndim else x, state)

    def update(grads: Array, state: Any, params: Array | None = None) -> tuple[Array, Any]:
        direction, new = inner.update(grads, cast(state, grads, jnp.float32), params)
        return direction, cast(new, grads, dtype)

    return optax.GradientTransformation(lambda x: cast(inner.init(x), x, dtype), update)


def init(
    params: dict,
    mask: Mask,
    config: AdaptConfig,
    carried: dict[str, Any] | None = None,
    carried_mask: Mask | None = None,
) -> dict[str, Any]:
    """{path: state} of what learns: the `carried` one where the same of the parameter learned before
    (`carried_mask`), else it starts at zero."""
    before = carried_mask or {}
    return {
        path: carried[path]
        if carried and path in carried and before.get(path) == mask[path]
        else _begun(_transform(path, x.ndim, config).init(x), x, config)
        for path, x in select(params, mask).items()
    }


def _begun(state: Any, x: Array, config: AdaptConfig) -> Any:
    return ema.begun(state, x) if config.ema else state


def update(
    grads: dict[str, Any], states: dict[str, Any], learning: dict[str, Any], rate: Float[Array, ""], config: AdaptConfig
) -> tuple[dict[str, Any], dict[str, Any], Float[Array, ""]]:
    """(new parameters, new states, gradient norm before clipping). clip_norm=0 does not clip. Embeddings and head move
    at `rate` times `embedding_learning_rate_ratio`."""
    norm = optax.tree.norm(grads)
    scale = jnp.where(norm > config.clip_norm, config.clip_norm / norm, 1.0) if config.clip_norm else 1.0
    new, new_states = {}, {}
    for path, grad in grads.items():
        transform = _transform(path, grad.ndim, config)
        before = states[path].inner if config.ema else states[path]
        direction, after = transform.update(grad * scale, before, learning[path])
        own = rate * config.embedding_learning_rate_ratio if path in EMBEDDINGS else rate
        new[path] = learning[path] - own * direction
        new_states[path] = ema.followed(states[path], after, new[path], config.ema) if config.ema else after
    return new, new_states, norm
