"""The training loop: reads top to bottom, and its state is the run directory, so that any stop can be resumed."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from saltjax.errors import UserError
from saltjax.hub.directory import FULL
from saltjax.models.model import Model
from saltjax.train import checkpoint, metrics, plots
from saltjax.train.forward import decoder_forward
from saltjax.train.interrupt import stop_wish
from saltjax.train.lora import merged, with_adapters
from saltjax.train.mesh import check_batch, make_mesh
from saltjax.train.progress import Progress
from saltjax.train.run import Run, resolved
from saltjax.train.schedules import decay_start
from saltjax.train.sharding import replicated_notes
from saltjax.train.stages import spec_at
from saltjax.train.step import State, abstract_state, global_batch, make_step, start
from saltjax.train.trainable import count, trainable

Score = Callable[[dict], dict[str, float]]
Account = Callable[[int], dict[str, Any]]
PLOT_EVERY = 30.0  # seconds, at evaluations; the end always draws


@runtime_checkable
class Batches(Protocol):
    """An endless Grain iterator of dicts tokens, segments, positions: int32 [local batch, seq_len]."""

    def __next__(self) -> dict[str, np.ndarray]: ...
    def __iter__(self) -> Iterator[dict[str, np.ndarray]]: ...
    def get_state(self) -> Any: ...
    def set_state(self, state: Any) -> None: ...


class Trained(NamedTuple):
    """How a run stands: steps done, last logged loss (nats a token), last held-out {name: bits per byte}, target
    tokens a second of this call, directory of the last checkpoint; whether Ctrl-C or SIGTERM ended it; parameters."""

    step: int
    loss: float | None
    valid: dict[str, float]
    tokens_per_second: float | None
    checkpoint: Path | None
    interrupted: bool
    params: dict


def train(
    model: Model,
    batches: Batches,
    run: Run,
    score: Score | None = None,
    mesh: Mesh | None = None,
    account: Account | None = None,
) -> Trained:
    """Train until `run.config.steps`, starting from the run's last checkpoint if it has one.

    `model.params` are used up (donated) by the first step; on a run with a checkpoint they may be abstract. `score`
    gives held-out bits per byte of parameters: before the first step, every `eval_every`, and after the last. `account`
    says what was seen of each corpus in so many steps, for metrics.jsonl: {"epochs": {corpus: value}, ...}.

    UserError: the mesh or the batch does not fit, a non-finite loss or gradient (the last good checkpoint stays), a
    checkpoint that cannot be written.
    """
    config = resolved(run.config)
    mesh = mesh or make_mesh(config.mesh)
    check_batch(mesh, config.batch_size, config.accumulate)
    forward = decoder_forward(
        model, jnp.dtype(config.compute_dtype), config.remat, unroll=config.unroll, lora_scale=config.lora.scale
    )

    base = with_adapters(model.params, config)
    masks = {spec: trainable(base, spec) for spec in config.specs}  # a wrong one shows now, not after the first phase

    def spec_for(step: int) -> str:
        return spec_at(config.phases, config.trainable, step)

    checkpoints = checkpoint.open_checkpoints(run.checkpoints, config.keep_checkpoints)
    saved = {one.step for one in checkpoints.checkpoints}
    step = max(saved, default=0)
    spec = spec_for(step)
    tokens, seconds = 0, 0.0
    if saved:
        state, data = checkpoint.restore(checkpoints, step, abstract_state(base, masks[spec], config, mesh))
        batches.set_state(data["batches"])
        tokens, seconds = data["tokens"], data["seconds"]
    else:
        state = start(base, masks[spec], config, mesh)
    metrics.cut(run.metrics, step if saved else -1)
    lines = metrics.read(run.metrics)
    loss = next((line["loss"] for line in reversed(lines) if "loss" in line), None)
    valid: dict[str, float] = next((line["bits_per_byte"] for line in reversed(lines) if "bits_per_byte" in line), {})
    evaluated = {line["step"] for line in lines if "bits_per_byte" in line}
    tokens_before, seconds_before = logged_tokens, logged_seconds = tokens, seconds
    train_step: Any = None
    last_plot = time.monotonic()
    pending: tuple[int, dict] | None = None

    def saves(step: int) -> bool:
        """Regularly, at the end, and before the rate falls for good: there a longer run can go on."""
        falls = config.decay_steps > 0 and step == decay_start(config)
        return falls or _due(step, config.checkpoint_every, config.steps)

    def settle() -> dict[str, float] | None:
        """Wait for the step in flight: its numbers, once it is known that they are finite."""
        nonlocal pending, tokens
        if pending is None:
            return None
        number, values = pending[0], {key: float(value) for key, value in jax.device_get(pending[1]).items()}
        pending = None
        for key in ("loss", "grad_norm"):
            if not math.isfinite(values[key]):
                good = f"the last good checkpoint is step {max(saved)}" if saved else "no checkpoint was due before it"
                raise UserError(
                    f"{run.path}: {key} is {values[key]} at step {number}; {good}; "
                    f"try a new run with a lower learning_rate (now {config.learning_rate}) or a longer warmup_steps"
                )
        tokens += int(values["tokens"])
        return values

    def save(state: State) -> None:
        data = {"batches": batches.get_state(), "tokens": tokens, "seconds": seconds}
        checkpoint.save(checkpoints, state, data)
        saved.add(step)

    with Progress(config.steps, step) as progress, stop_wish(progress.say) as stop:
        log = metrics.Log(run.metrics, step if saved else None)
        with _one_line_when_full(run, saved), checkpoint.finishing(checkpoints), log:
            progress.say(_summary(run, model, config.trainable, mesh, count(base, masks[config.trainable])))
            for note in replicated_notes(base, mesh):
                progress.say(note)
            while not stop():
                if score and step not in evaluated and _due(step, config.eval_every, config.steps, first=True):
                    valid = {name: float(value) for name, value in score(merged(state.params, config)).items()}
                    evaluated.add(step)
                    log.write({"step": step, "bits_per_byte": valid})
                    progress.say(f"step {step}: " + ", ".join(f"{k} {v:.4f} bits per byte" for k, v in valid.items()))
                    if time.monotonic() - last_plot > PLOT_EVERY:
                        plots.draw(run.path)
                        last_plot = time.monotonic()
                if step not in saved and saves(step):
                    save(state)
                if step >= config.steps or stop():
                    break

                began = time.perf_counter()
                batch = global_batch(next(batches), mesh)
                if train_step is None:  # ahead of time: it cannot compile twice, and its time is not training time
                    train_step = make_step(forward, masks[spec], config, mesh, state).lower(state, batch).compile()
                    began = time.perf_counter()
                state, values = train_step(state, batch)
                settle()  # of the step before, while this one runs: the device never waits for the host
                step += 1
                pending = (step, values)
                joins = (wanted := spec_for(step)) != spec
                logs = step == 1 or step % config.log_every == 0 or step == config.steps
                due = _due(step, config.eval_every, config.steps) or saves(step)
                numbers = settle() if logs or due or joins or stop() else None
                seconds += time.perf_counter() - began

                if logs and numbers:
                    loss = numbers["loss"]
                    speed = (tokens - logged_tokens) / (seconds - logged_seconds)
                    logged_tokens, logged_seconds = tokens, seconds
                    kept = {key: numbers[key] for key in ("loss", "learning_rate", "grad_norm")}
                    total = {"tokens": tokens, "tokens_per_second": round(speed, 1), "seconds": round(seconds, 3)}
                    log.write({"step": step, **kept, **total, **(account(step) if account else {})})
                    progress.step(step, f"loss {loss:.4f}  lr {kept['learning_rate']:.2e}  {speed:,.0f} tokens/s")
                else:
                    progress.step(step)
                if joins:  # the state is kept ready for its next step, so that it can be resumed from here, too
                    before, spec, train_step = masks[spec], wanted, None
                    state = start(state.params, masks[spec], config, mesh, carried=(state, before))
            settle()
            if stop() and step not in saved:
                save(state)
            plots.draw(run.path)
        if interrupted := stop() and (step < config.steps or bool(score and step not in evaluated)):
            progress.say(f"saved step {step} of {config.steps} in {run.path}; run the same command again to resume")
    return Trained(
        step=step,
        loss=loss,
        valid=valid,
        tokens_per_second=(tokens - tokens_before) / (seconds - seconds_before) if seconds > seconds_before else None,
        checkpoint=run.checkpoints / str(max(saved)) if saved else None,
        interrupted=interrupted,
        params=merged(state.params, config),
    )


@contextmanager
def _one_line_when_full(run: Run, saved: set[int]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        good = f"the last whole checkpoint is step {max(saved)}" if saved else "there is no checkpoint yet"
        raise UserError(f"{run.path}: the disk is full; {good}; free some space and resume") from error


def _due(step: int, every: int, last: int, first: bool = False) -> bool:
    return step == last or (first and step == 0) or (every > 0 and step > 0 and step % every == 0)


def _summary(run: Run, model: Model, spec: str, mesh: Mesh, learning: int) -> str:
    total = sum(x.size for x in jax.tree.leaves(model.params))
    axes = " x ".join(f"{name}={size}" for name, size in mesh.shape.items())
    return (
        f"{run.path}: {learning:,} of {total:,} parameters learn (trainable={spec}), "
        f"mesh {axes} on {mesh.size} of {len(jax.devices())} {jax.devices()[0].platform} devices"
    )
