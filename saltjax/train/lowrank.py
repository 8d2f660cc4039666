"""A function of weights, evaluated with low-rank additions that are never formed: x (W + s A B) as x W + s (x A) B.

The model is not rewritten: the function's program is read operation by operation (a JAX custom interpreter). A weight
with an addition stays a `LowRank` through a change of dtype and is used as one by a product over its input axes;
any other operation gets the sum W + s A B.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Literal
from jaxtyping import Array


class LowRank(NamedTuple):
    """weight [inputs..., outputs...] + a [inputs..., r] b [r, outputs...]; the scale is already in b."""

    weight: Array
    a: Array
    b: Array

    def dense(self) -> Array:
        return self.weight + jnp.tensordot(self.a, self.b, 1)


def multiplied(function: Callable[..., Array], weights: dict[str, Array], scale: float) -> Callable[..., Array]:
    """`function(weights, *args)` as a function of `args`, in which `lora.PATH.a` and `.b` were added to `PATH`."""
    base = {path: x for path, x in weights.items() if not path.startswith("lora.")}
    adapted = {path for path in base if f"lora.{path}.a" in weights}
    if not adapted:
        return lambda *args: function(base, *args)

    def low_rank(path: str) -> Any:
        if path not in adapted:
            return base[path]
        return LowRank(base[path], weights[f"lora.{path}.a"], scale * weights[f"lora.{path}.b"])

    def call(*args: Any) -> Array:
        program = jax.make_jaxpr(function)(base, *args)
        inputs = [low_rank(path) for path in sorted(base)] + jax.tree.leaves(args)
        return _evaluate(program.jaxpr, program.consts, inputs)

    return call


def _evaluate(program: Any, constants: list[Any], inputs: list[Any]) -> Array:
    values = dict(zip([*program.constvars, *program.invars], [*constants, *inputs], strict=True))
    for operation in program.eqns:
        operands = [var.val if isinstance(var, Literal) else values[var] for var in operation.invars]
        results = _low_rank(operation, operands)
        if results is None:
            operands = [x.dense() if isinstance(x, LowRank) else x for x in operands]
            found = operation.primitive.bind(*operands, **operation.primitive.get_bind_params(operation.params))
            results = found if operation.primitive.multiple_results else [found]
        values.update(zip(operation.outvars, results, strict=True))
    (result,) = program.outvars
    return values[result]


def _low_rank(operation: Any, operands: list[Any]) -> list[Any] | None:
    """The results of an operation that knows what to do with a LowRank; None for all others."""
    if not any(isinstance(x, LowRank) for x in operands):
        return None
    name, settings = operation.primitive.name, operation.params
    if name == "custom_vjp_call":  # `models.product`: what it is made of, so that adapters are differentiated as such
        return [_evaluate(settings["call_jaxpr"].jaxpr, settings["call_jaxpr"].consts, operands)]
    if name == "convert_element_type":
        return [LowRank(*(x.astype(settings["new_dtype"]) for x in operands[0]))]
    if name == "dot_general":
        (contracted, batched) = settings["dimension_numbers"]
        side = 0 if isinstance(operands[0], LowRank) else 1
        low, x = operands[side], operands[1 - side]
        inputs = low.a.ndim - 1
        if isinstance(x, LowRank) or batched[0] or sorted(contracted[side]) != list(range(inputs)):
            return None

        def product(a: Array, b: Array, over: tuple[tuple[int, ...], tuple[int, ...]]) -> Array:
            return jax.lax.dot_general(
                *((a, b) if side == 0 else (b, a)),
                (over if side == 0 else over[::-1], ((), ())),
                precision=settings["precision"],
                preferred_element_type=settings["preferred_element_type"],
            )

        over = (contracted[side], contracted[1 - side])
        inner = product(low.a, x, over).astype(x.dtype)
        rank = 0 if side == 0 else inner.ndim - 1
        return [product(low.weight, x, over) + product(low.b, inner, ((0,), (rank,)))]
    return None
