"""Products of activations with weights, differentiated so that nothing large is transposed."""

from collections.abc import Sequence
from functools import partial
from typing import Any

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


def scores(x: Float[Array, "*n d"], table: Float[Array, "v d"]) -> Float[Array, "*n v"]:
    """x table^T in float32, multiplied in the dtype of x; the table and the gradient of the scores are rounded to it.

    The table's gradient is x^T gradient, turned over afterwards: a table is smaller than the scores of a batch.
    """
    return _scores(x, table.astype(x.dtype))


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


@jax.custom_vjp
def _scores(x: Array, table: Array) -> Array:
    return _over(x, [x.ndim - 1], table, [1], jnp.float32)


def _scores_forward(x: CustomVJPPrimal, table: CustomVJPPrimal) -> tuple[Array, Kept]:
    kept = x.value if table.perturbed else None, table.value if x.perturbed else None
    return _scores(x.value, table.value), kept


def _scores_backward(kept: Kept, gradient: Array | SymbolicZero) -> Kept:
    x, table = kept
    if isinstance(gradient, SymbolicZero):
        return None, None
    to_x = to_table = None
    if table is not None:
        to_x = _over(gradient.astype(table.dtype), [gradient.ndim - 1], table, [0])
    if x is not None:
        tokens = range(x.ndim - 1)
        product_dv = _over(x, tokens, gradient.astype(x.dtype), tokens)
        # Else XLA on a CPU makes one product of the two steps, which reads the gradient of the scores across.
        product_dv = jax.lax.platform_dependent(product_dv, cpu=jax.lax.optimization_barrier, default=lambda y: y)
        to_table = product_dv.T
    return to_x, to_table


def _over(a: Array, a_axes: Sequence[int], b: Array, b_axes: Sequence[int], dtype: Any = None) -> Array:
    """The sum over these axes, in `dtype` or theirs. The backward pass is traced where `matmul_precision` no longer
    holds, so it is said."""
    precision = jax.lax.Precision.DEFAULT if a.dtype == jnp.bfloat16 else jax.lax.Precision.HIGHEST
    axes = ((tuple(a_axes), tuple(b_axes)), ((), ()))
    return jax.lax.dot_general(a, b, axes, precision=precision, preferred_element_type=dtype)


_product.defvjp(_forward, _backward, symbolic_zeros=True)
_scores.defvjp(_scores_forward, _scores_backward, symbolic_zeros=True)
