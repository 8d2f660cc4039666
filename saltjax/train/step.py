"""One training step: loss, gradient of what learns, optimizer; compiled once, pinned shardings, donated state."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int

from saltjax.train import optimiser
from saltjax.train.accumulation import accumulated
from saltjax.train.config import AdaptConfig
from saltjax.train.forward import Forward
from saltjax.train.loss import Sums, chunked_cross_entropy, targets
from saltjax.train.mesh import BATCH, batch_sharding
from saltjax.train.schedules import learning_rate
from saltjax.train.sharding import fitting, opt_shardings, param_shardings
from saltjax.train.trainable import Mask, join, merge, select

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


def start(
    params: dict, mask: Mask, config: AdaptConfig, mesh: Mesh, carried: tuple[State, Mask] | None = None
) -> State:
    """The state of a fresh run (step 0), or of the next phase of the `carried` one: what goes on learning keeps its
    moments, what joins starts at zero."""
    where = state_shardings(abstract_state(params, mask, config, mesh), mesh)
    params = jax.device_put(params, where.params)
    old, old_mask = (carried[0].opt_state, carried[1]) if carried else ({}, {})
    make = jax.jit(lambda p, o: optimiser.init(p, mask, config, o, old_mask), out_shardings=where.opt_state)
    step = carried[0].step if carried else jax.device_put(jnp.zeros((), jnp.int32), where.step)
    return State(params, make(params, old), step)


def global_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows of a batch -> the batch of the whole mesh, split over (data, fsdp)."""
    return {key: jax.make_array_from_process_local_data(batch_sharding(mesh), rows) for key, rows in batch.items()}


def loss_sums(forward: Forward, params: dict, batch: dict[str, Array], mesh: Mesh) -> Sums:
    """The sums over the target tokens of a batch: negative log-likelihood in nats, their number, z-loss."""
    activations = NamedSharding(mesh, P(BATCH, None, None))

    def constrain(x: Array) -> Array:
        return jax.lax.with_sharding_constraint(x, activations)

    tables = {name: gathered(params[name], mesh) for name in ("embed", "head") if name in params}
    params = {**params, **tables}
    hidden = forward.hidden(params, batch["tokens"], batch["positions"], batch["segments"], constrain=constrain)
    rows = hidden.shape[0] // (mesh.shape["data"] * mesh.shape["fsdp"])
    chunk = max(LOGITS * mesh.shape["tensor"] // (rows * params["embed"]["table"].shape[0]), 8)
    following, valid = targets(batch["tokens"], batch["segments"])
    return chunked_cross_entropy(constrain(hidden), lambda h: forward.logits(tables, h), following, valid, chunk)


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
        number = jnp.maximum(targets(batch["tokens"], batch["segments"])[1].sum(dtype=jnp.float32), 1)

        def share(learning: dict[str, Array], piece: dict[str, Array]) -> tuple[Array, Sums]:
            """What a piece of the batch adds to the objective, and its sums."""
            sums = loss_sums(forward, join(state.params, learning, mask), piece, mesh)
            total = sums.loss + config.z_loss * sums.squares if config.z_loss else sums.loss
            return total / number, sums

        learning = select(state.params, mask)
        sums, grads = accumulated(share, learning, batch, config.accumulate, mesh)
        rate = learning_rate(state.step, config)
        new, opt_state, norm = optimiser.update(grads, state.opt_state, learning, rate, config)
        metrics = {"loss": sums.loss / number, "grad_norm": norm, "learning_rate": rate, "tokens": sums.number}
        return State(merge(state.params, new, mask), opt_state, state.step + 1), metrics

    return jax.jit(
        step,
        in_shardings=(where, batch_sharding(mesh)),
        out_shardings=(where, NamedSharding(mesh, P())),
        donate_argnums=0,
    )
