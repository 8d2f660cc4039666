"""One training step: loss, gradient of what learns, optimizer; compiled once, pinned shardings, donated state."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
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

LOGITS = {"cpu": 2**21}  # float32 logits of one chunk of the loss on one device: what a CPU's caches hold
MORE_LOGITS = 2**26  # elsewhere: 256 MiB


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


def loss_sums(forward: Forward, params: dict, batch: dict[str, Array], mesh: Mesh, z_loss: float = 0.0) -> Sums:
    """The sums over the target tokens of a batch: the objective, negative log-likelihood in nats, their number."""
    tables = {name: params[name] for name in ("embed", "head") if name in params}
    tokens, tensor = batch["tokens"], mesh.shape["tensor"]
    if tensor > 1:
        tables = gathered(tables, mesh)
    else:  # each device looks up its columns for all its neighbours' tokens: activations change hands, not the table
        tokens = _placed(tokens, mesh, "data")

    def constrain(x: Array) -> Array:
        return _placed(x, mesh, BATCH, None, None)

    hidden = forward.hidden({**params, **tables}, tokens, batch["positions"], batch["segments"], constrain=constrain)
    rows = hidden.shape[0] // (mesh.shape["data"] * mesh.shape["fsdp"])
    logits = LOGITS.get(mesh.devices.flat[0].platform, MORE_LOGITS) * tensor // params["embed"]["table"].shape[0]
    chunk = max(max(logits, 256) // rows, 8)  # fewer than 256 tokens cost more in sums of the tables' gradients

    def sums(tables: dict, hidden: Array, following: Array, valid: Array) -> Sums:
        return chunked_cross_entropy(forward.logits, tables, hidden, following, valid, chunk, z_loss)

    run = sums if tensor > 1 else by_device(sums, tables, mesh)
    return run(tables, constrain(hidden), *targets(batch["tokens"], batch["segments"], batch.get("learns")))


def _placed(x: Array, mesh: Mesh, *axes: Any) -> Array:
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, P(*axes)))


def gathered(tables: dict, mesh: Mesh) -> dict:
    """Vocabulary tables whole along fsdp and still split over tensor: gathered once, not once a chunk of the loss, and
    a lookup in a table that is split both ways would make XLA replicate its result."""
    return jax.tree.map(lambda x: _placed(x, mesh, *fitting(P("tensor"), x.shape, mesh)), tables)


def by_device(sums: Callable[..., Sums], tables: dict, mesh: Mesh) -> Callable[..., Sums]:
    """`sums(tables, hidden, following, valid)` of each device's own sequences, added up; for tensor=1.

    A device gathers the tables once, adds up their gradient over all chunks, and then the sum is scattered. Left to
    itself XLA sums that of the lookup and that of the loss over the mesh, each whole on every device.
    """
    split = jax.tree.map(lambda x: fitting(P(None, "fsdp") if x.ndim > 1 else P(), x.shape, mesh), tables)

    def whole(x: Array, spec: P) -> Array:
        if "fsdp" not in spec:
            return jax.lax.pcast(x, BATCH, to="varying")
        return jax.lax.all_gather(jax.lax.pcast(x, "data", to="varying"), "fsdp", axis=1, tiled=True)

    def own(tables: dict, *rest: Array) -> Sums:
        return jax.lax.psum(sums(jax.tree.map(whole, tables, split), *rest), BATCH)

    inputs = (split, P(BATCH), P(BATCH), P(BATCH))
    return jax.shard_map(own, mesh=mesh, in_specs=inputs, out_specs=P(), axis_names=set(BATCH))


def make_step(forward: Forward, mask: Mask, config: AdaptConfig, mesh: Mesh, state: State) -> jax.stages.Wrapped:
    """step(state, batch) -> (next state, metrics {loss, grad_norm, learning_rate, tokens, gradient_norms}); `state` is
    donated.

    The argument `state` here gives shapes only. Metrics are float32: loss in nats a target token, the norm of the
    gradient of all that learns before clipping, the number of target tokens, and the norm of each parameter's gradient,
    in the order of their names. A step whose loss or gradient is not finite changes neither parameters nor moments.
    """
    where = state_shardings(state, mesh)

    def step(state: State, batch: dict[str, Array]) -> tuple[State, dict[str, Array]]:
        counted = targets(batch["tokens"], batch["segments"], batch.get("learns"))[1]
        number = jnp.maximum(counted.sum(dtype=jnp.float32), 1)

        def share(learning: dict[str, Array], piece: dict[str, Array]) -> tuple[Array, Sums]:
            """What a piece of the batch adds to the objective, and its sums."""
            sums = loss_sums(forward, join(state.params, learning, mask), piece, mesh, config.z_loss)
            return sums.objective / number, sums

        learning = select(state.params, mask)
        sums, grads = accumulated(share, learning, batch, config.accumulate, mesh)
        rate = learning_rate(state.step, config)
        new, opt_state, norm = optimiser.update(grads, state.opt_state, learning, rate, config)
        finite = jnp.isfinite(sums.loss) & jnp.isfinite(norm)
        old = learning, state.opt_state
        new, opt_state = jax.tree.map(lambda x, before: jnp.where(finite, x, before), (new, opt_state), old)
        metrics = {"loss": sums.loss / number, "grad_norm": norm, "learning_rate": rate, "tokens": sums.number}
        metrics["gradient_norms"] = jnp.array([optax.tree.norm(grads[path]) for path in sorted(grads)])
        return State(merge(state.params, new, mask), opt_state, state.step + 1), metrics

    return jax.jit(
        step,
        in_shardings=(where, batch_sharding(mesh)),
        out_shardings=(where, NamedSharding(mesh, P())),
        donate_argnums=0,
    )
