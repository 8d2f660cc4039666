"""The product of activations with a weight, differentiated so that nothing large is transposed."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero
from jaxtyping import Array, Float

Kept = tuple[Array | None, Array | None]


def product(x: Float[Array, "..."], weight: Float[Array, "..."], inputs: int = 1) -> Float[Array, "..."]:
    """x [..., i] weight [i, o] -> [..., o] in the dtype of x, to which the weight is rounded; i stands for `inputs`
    axes, o for the others of the weight.

    Float32 is multiplied as float32 on any device. The gradients are those of `jnp.tensordot`. But that asks for the
    weight's as gradient^T x, for which XLA on a CPU writes down the transposed gradient of the whole batch: the layers
    of a small model then take twice as long. As x^T gradient it is one product.
    """
    return _product(x, weight.astype(x.dtype), inputs)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product(x: Array, weight: Array, inputs: int) -> Array:
    return _over(x, range(x.ndim - inputs, x.ndim), weight, range(inputs))


def _forward(x: CustomVJPPrimal, weight: CustomVJPPrimal, inputs: int) -> tuple[Array, Kept]:
    """What no gradient is asked for (a frozen weight) costs no product and keeps nothing for one."""
    kept = x.value if weight.perturbed else None, weight.value if x.perturbed else None
    return _product(x.value, weight.value, inputs), kept


def _backward(inputs: int, kept: Kept, gradient: Array | SymbolicZero) -> Kept:
    x, weight = kept
    if isinstance(gradient, SymbolicZero):
        return None, None
    to_x = to_weight = None
    if weight is not None:
        outputs = range(gradient.ndim - (weight.ndim - inputs), gradient.ndim)
        to_x = _over(gradient, outputs, weight, range(inputs, weight.ndim))
    if x is not None:
        tokens = range(x.ndim - inputs)
        to_weight = _over(x, tokens, gradient, tokens)
    return to_x, to_weight


def _over(a: Array, a_axes: Sequence[int], b: Array, b_axes: Sequence[int]) -> Array:
    """The sum over these axes. The backward pass is traced where `matmul_precision` no longer holds, so it is said."""
    precision = jax.lax.Precision.DEFAULT if a.dtype == jnp.bfloat16 else jax.lax.Precision.HIGHEST
    return jax.lax.dot_general(a, b, ((tuple(a_axes), tuple(b_axes)), ((), ())), precision=precision)


_product.defvjp(_forward, _backward, symbolic_zeros=True)
