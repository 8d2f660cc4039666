"""Orbax checkpoints of a run: parameters, optimizer, step and the state of the data, in one call.

The whole use of Orbax's v1 API is in this file; it still lives under `experimental` there.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import jax
from orbax.checkpoint import v1 as ocp

from saltjax.errors import UserError
from saltjax.train.step import State

# Orbax logs a failure with tracebacks from several threads and then raises it; one line of ours is enough.
logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)

Checkpoints: TypeAlias = ocp.training.Checkpointer


def open_checkpoints(directory: Path, keep: int | None = None) -> Checkpoints:
    """The checkpoints of a run, to be closed: saving goes on in the background. With `keep`, for writing: only the
    last so many are kept, and what an earlier kill left half written is removed."""
    context = ocp.Context()
    registry = ocp.handlers.local_registry(include_global_registry=True)
    registry.add(
        ocp.handlers.JsonHandler, checkpointable_name="data"
    )  # a readable file; as a tree of arrays it would become binary
    context.checkpointables.registry = registry
    latest = ocp.training.preservation_policies.LatestN(keep) if keep else None
    return Checkpoints(
        directory.resolve(), context=context, preservation_policy=latest, cleanup_tmp_directories=keep is not None
    )


def steps(directory: Path) -> list[int]:
    """The steps of which there is a whole checkpoint, ascending."""
    if not directory.is_dir():
        return []
    with open_checkpoints(directory) as checkpoints:
        return [checkpoint.step for checkpoint in checkpoints.checkpoints]


def save(checkpoints: Checkpoints, state: State, data: dict) -> None:
    """Start writing the state and `data` (JSON: the iterator's state, counters) as checkpoint `state.step`.

    Returns as soon as the arrays are copied. The checkpoint appears under its name once it is whole.
    """
    step = int(state.step)
    try:
        checkpoints.save_checkpointables_async(
            step, {"params": state.params, "optimizer": state.opt_state, "data": data}, force=True
        )
    except Exception as error:  # also that of a save before this one
        raise _unwritten(checkpoints, error) from error


@contextmanager
def finishing(checkpoints: Checkpoints) -> Iterator[None]:
    """Leaves only when everything is written and closed. UserError when it could not be (a full disk)."""
    try:
        yield
    finally:
        try:
            checkpoints.wait()
        except Exception as error:
            raise _unwritten(checkpoints, error) from error
        finally:
            checkpoints.close()


def _unwritten(checkpoints: Checkpoints, error: Exception) -> UserError:
    for partial in Path(checkpoints.directory).glob("*.orbax-checkpoint-tmp"):
        shutil.rmtree(partial, ignore_errors=True)  # gives its space back
    checkpoints.reload()
    last = checkpoints.latest
    kept = f"the last whole checkpoint is step {last.step}" if last else "there is no whole checkpoint yet"
    reason = " ".join(str(error).split())[:200]
    return UserError(
        f"{checkpoints.directory}: the checkpoint could not be written ({reason}); {kept}; free some space"
    )


def restore(checkpoints: Checkpoints, step: int, like: State) -> tuple[State, dict]:
    """(state, data) of a step, laid out as the abstract state `like`: on whatever mesh its shardings name."""
    wanted = {"params": like.params, "optimizer": like.opt_state, "data": None}
    found = checkpoints.load_checkpointables(step, wanted)
    number = jax.device_put(jax.numpy.int32(step), like.step.sharding)
    return State(found["params"], found["optimizer"], number), found["data"]


def load_params(directory: Path, step: int | None = None, like: Any = None) -> tuple[int, dict]:
    """(step, parameters) of one checkpoint, by default the last; `like` gives abstract arrays with shardings, by
    default one device holds them all. UserError: there is no such checkpoint."""
    there = steps(directory)
    if not there:
        raise UserError(f"{directory}: there is no checkpoint in this run yet; run `saltjax adapt` first")
    if step is not None and step not in there:
        raise UserError(f"{directory}: there is no checkpoint of step {step}; there are {', '.join(map(str, there))}")
    with open_checkpoints(directory) as checkpoints:
        chosen = there[-1] if step is None else step
        if like is None:
            here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
            found = checkpoints.checkpointables_metadata(chosen).metadata["params"]
            like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), found)
        return chosen, checkpoints.load_checkpointables(chosen, {"params": like})["params"]
