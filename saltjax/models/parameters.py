"""What every module is made of: float32 parameters whose values come from a checkpoint or from `initial.py`.

Parameters may have any float dtype (float32 masters, normally): each use casts them to the dtype of the activations,
so the caller chooses the compute dtype by the dtype of `x`. A parameter that a model lacks is None and has no path.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


def weight(*shape: int) -> nnx.Param:
    return nnx.Param(jnp.zeros(shape, jnp.float32))


def bias(present: bool, *shape: int) -> nnx.Param | None:
    return weight(*shape) if present else None


def plus(x: Float[Array, "..."], b: nnx.Param | None) -> Float[Array, "..."]:
    """x + b, or x where the model has no such bias."""
    return x if b is None else x + b[...].astype(x.dtype)
