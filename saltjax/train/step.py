"""One training step: loss, gradient of what learns, AdamW; compiled once, with pinned shardings and donated state."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int

from saltjax.train import optimiser
from saltjax.train.config import AdaptConfig
from saltjax.train.forward import Forward
from saltjax.train.loss import chunked_cross_entropy, targets
from saltjax.train.mesh import BATCH, batch_sharding
from saltjax.train.sharding import fitting, opt_shardings, param_shardings
from saltjax.train.trainable import Mask, merge, select

LOGITS = 2**26  # float32 logits of one chunk of the loss on one device: 256 MiB


class State(NamedTuple):
    """All that a step reads and writes, ready for step number `step` (counted from 0). Parameters are float32."""

    params: dict
    opt_state: dict[str, Any]
    step: Int[Array, ""]


def state_shardings(state: State, mesh: Mesh) -> State:
    """Where each array of a (concrete or abstract) state lies."""
    return State(
        param_shardings(state.params, mesh),
        opt_shardings(state.opt_state, state.params, mesh),
        NamedSharding(mesh, P()),  # type: ignore[arg-type]
    )


def abstract_state(params: dict, mask: Mask, config: AdaptConfig, mesh: Mesh) -> State:
    """Shapes, dtypes and shardings of the state of a phase, without any memory."""
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    opt = jax.eval_shape(lambda p: optimiser.init(p, mask, config), shapes)
    state = State(shapes, opt, jax.ShapeDtypeStruct((), jnp.int32))  # type: ignore[arg-type]
    where = state_shardings(state, mesh)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, where)


def start(params: dict, mask: Mask, config: AdaptConfig, mesh: Mesh, carried: State | None = None) -> State:
    """The state of a fresh run (step 0), or of the next phase of the `carried` one: what goes on learning keeps its
    moments, what joins starts at zero."""
    where = state_shardings(abstract_state(params, mask, config, mesh), mesh)
    params = jax.device_put(params, where.params)
    old = carried.opt_state if carried else {}
    make = jax.jit(lambda p, o: optimiser.init(p, mask, config, o), out_shardings=where.opt_state)
    step = carried.step if carried else jax.device_put(jnp.zeros((), jnp.int32), where.step)
    return State(params, make(params, old), step)


def global_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows of a batch -> the batch of the whole mesh, split over (data, fsdp)."""
    return {key: jax.make_array_from_process_local_data(batch_sharding(mesh), rows) for key, rows in batch.items()}


def mean_loss(forward: Forward, params: dict, batch: dict[str, Array], mesh: Mesh) -> tuple[Array, Array]:
    """(mean negative log-likelihood in nats over the target tokens of the global batch, their number)."""
    activations = NamedSharding(mesh, P(BATCH, None, None))

    def constrain(x: Array) -> Array:
        return jax.lax.with_sharding_constraint(x, activations)

    tables = {name: gathered(params[name], mesh) for name in ("embed", "head") if name in params}
    params = {**params, **tables}
    hidden = forward.hidden(params, batch["tokens"], batch["positions"], batch["segments"], constrain=constrain)
    rows = hidden.shape[0] // (mesh.shape["data"] * mesh.shape["fsdp"])
    chunk = max(LOGITS * mesh.shape["tensor"] // (rows * params["embed"]["table"].shape[0]), 8)
    following, valid = targets(batch["tokens"], batch["segments"])
    total, number = chunked_cross_entropy(
        constrain(hidden), lambda h: forward.logits(tables, h), following, valid, chunk
    )
    return total / jnp.maximum(number, 1), number


def gathered(tables: dict[str, Array], mesh: Mesh) -> dict[str, Array]:
    """Vocabulary tables whole along fsdp and still split over tensor: gathered once, not once a chunk of the loss, and
    a lookup in a table that is split both ways would make XLA replicate its result."""

    def gather(x: Array) -> Array:
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, fitting(P("tensor"), x.shape, mesh)))

    return jax.tree.map(gather, tables)


def make_step(forward: Forward, mask: Mask, config: AdaptConfig, mesh: Mesh, state: State) -> jax.stages.Wrapped:
    """step(state, batch) -> (next state, metrics {loss, grad_norm, learning_rate, tokens}); `state` is donated.

    The argument `state` here gives shapes only. Metrics are float32 scalars: loss in nats a target token, the norm of
    the gradient of all that learns before clipping, and the number of target tokens.
    """
    where = state_shardings(state, mesh)

    def step(state: State, batch: dict[str, Array]) -> tuple[State, dict[str, Array]]:
        def loss(learning: dict[str, Array]) -> tuple[Array, Array]:
            return mean_loss(forward, merge(state.params, learning, mask), batch, mesh)

        learning = select(state.params, mask)
        (value, number), grads = jax.value_and_grad(loss, has_aux=True)(learning)
        rate = optimiser.learning_rate(state.step, config)
        new, opt_state, norm = optimiser.update(grads, state.opt_state, learning, rate, config)
        metrics = {"loss": value, "grad_norm": norm, "learning_rate": rate, "tokens": number}
        return State(merge(state.params, new, mask), opt_state, state.step + 1), metrics

    return jax.jit(
        step,
        in_shardings=(where, batch_sharding(mesh)),
        out_shardings=(where, NamedSharding(mesh, P())),
        donate_argnums=0,
    )
