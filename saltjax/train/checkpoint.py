"""Orbax checkpoints of a run: parameters, optimizer, step and the state of the data, in one call.

The whole use of Orbax's v1 API is in this file; it still lives under `experimental` there.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import jax
from etils import epath
from orbax.checkpoint import v1 as ocp

from saltjax.errors import UserError
from saltjax.train import checksums
from saltjax.train.step import State

# Orbax logs a failure with tracebacks from several threads and then raises it; one line of ours is enough.
logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)

Checkpoints: TypeAlias = ocp.training.Checkpointer
COMMITTED = "commit_success.txt"  # Orbax's mark, where a directory cannot be renamed (cloud storage)


class Keep:
    """Which checkpoints stay once a newer one is whole: the last ones and some for good. As Orbax wants to be told."""

    def __init__(self, last: int):
        self.last = last
        self.always: set[int] = set()

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        last = {one.step for one in checkpoints[-self.last :]}
        return [one.step in last | self.always for one in checkpoints]


def open_checkpoints(directory: epath.PathLike, keep: Keep | None = None) -> Checkpoints:
    """The checkpoints of a run, to be closed: saving goes on in the background. With `keep`, for writing: only those
    are kept, and what an earlier kill left half written is removed. A checkpoint gets its checksums, then its name."""
    folder = epath.Path(directory)
    folder = folder if _remote(folder) else folder.resolve()
    context = ocp.Context()
    registry = ocp.handlers.local_registry(include_global_registry=True)
    registry.add(
        ocp.handlers.JsonHandler, checkpointable_name="data"
    )  # a readable file; as a tree of arrays it would become binary
    context.checkpointables.registry = registry

    def sign() -> None:
        for unfinished in _unfinished(folder):
            checksums.write(unfinished)

    context.async_options.post_finalization_callback = sign  # in process 0, when all have written their part
    return Checkpoints(folder, context=context, preservation_policy=keep, cleanup_tmp_directories=keep is not None)


def steps(directory: epath.PathLike) -> list[int]:
    """The steps of which there is a finished checkpoint, ascending. UserError: the place cannot be reached."""
    folder = epath.Path(directory)
    try:
        there = [one for one in folder.iterdir() if one.name.isdigit()] if folder.exists() else []
        finished = [one for one in there if not _remote(one) or (one / COMMITTED).exists()]
    except Exception as error:
        if not _remote(folder):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{directory}: the checkpoints cannot be reached ({reason}); "
            "gs:// needs `pip install gcsfs` and your credentials"
        ) from None
    return sorted(int(one.name) for one in finished)


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
    directory = epath.Path(checkpoints.directory)
    if jax.process_index() == 0:
        for partial in _unfinished(directory):
            partial.rmtree(missing_ok=True)  # gives its space back
    there = steps(directory)
    kept = f"the last whole checkpoint is step {there[-1]}" if there else "there is no whole checkpoint yet"
    reason = " ".join(str(error).split())[:200]
    return UserError(f"{directory}: the checkpoint could not be written ({reason}); {kept}; free some space")


def _unfinished(directory: epath.Path) -> list[epath.Path]:
    """What is being written, or was when a run was killed."""
    if _remote(directory):
        return [one for one in directory.iterdir() if one.name.isdigit() and not (one / COMMITTED).exists()]
    return list(directory.glob("*.orbax-checkpoint-tmp"))


def _remote(path: epath.Path) -> bool:
    return "://" in str(path)


def restore(checkpoints: Checkpoints, step: int, like: State) -> tuple[State, dict]:
    """(state, data) of a step, laid out as the abstract state `like`: on whatever mesh its shardings name."""
    wanted = {"params": like.params, "optimizer": like.opt_state, "data": None}
    found = checkpoints.load_checkpointables(step, wanted)
    number = jax.device_put(jax.numpy.int32(step), like.step.sharding)
    return State(found["params"], found["optimizer"], number), found["data"]


def load_params(directory: epath.PathLike, step: int | None = None, like: Any = None) -> tuple[int, dict]:
    """(step, parameters) of one checkpoint, by default the last; `like` gives abstract arrays with shardings, by
    default one device holds them all. UserError: there is no such checkpoint, or it is damaged."""
    there = steps(directory)
    if not there:
        raise UserError(f"{directory}: there is no checkpoint in this run yet; run `saltjax adapt` first")
    if step is not None and step not in there:
        raise UserError(f"{directory}: there is no checkpoint of step {step}; there are {', '.join(map(str, there))}")
    chosen = there[-1] if step is None else step
    _check(directory, chosen, "params")
    with open_checkpoints(directory) as checkpoints:
        if like is None:
            like = jax.tree.map(_here, checkpoints.checkpointables_metadata(chosen).metadata["params"])
        return chosen, checkpoints.load_checkpointables(chosen, {"params": like})["params"]


def load_means(directory: epath.PathLike, step: int) -> dict[str, Any]:
    """{parameter: its moving average} (`ema.py`) of a checkpoint that has them; the moments are not read."""
    _check(directory, step, "optimizer")
    with open_checkpoints(directory) as checkpoints:
        states = checkpoints.checkpointables_metadata(step).metadata["optimizer"]
        wanted = {
            path: {**jax.tree.map(lambda _: ocp.PLACEHOLDER, state), "mean": _here(state["mean"])}
            for path, state in states.items()
        }
        found = checkpoints.load_checkpointables(step, {"optimizer": wanted})["optimizer"]
    return {path: state["mean"] for path, state in found.items()}


def _here(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0]))


def _check(directory: epath.PathLike, step: int, part: str) -> None:
    """UserError: this part of the checkpoint is damaged."""
    if damage := checksums.damage(epath.Path(directory) / str(step), f"{part}/"):
        others = ", ".join(str(one) for one in steps(directory) if one != step)
        mend = f"take another one: --step {others}" if others else "there is no other one; run `saltjax adapt` again"
        raise UserError(f"the checkpoint of step {step} is damaged: {damage}; {mend}")
