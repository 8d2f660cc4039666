"""The training loop: reads top to bottom, and its state is the run directory, so that any stop can be resumed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from saltjax.models.model import Model
from saltjax.train.chips import chip
from saltjax.train.config import AdaptConfig
from saltjax.train.due import due
from saltjax.train.ema import SUFFIX, with_means
from saltjax.train.flops import step_flops
from saltjax.train.forward import decoder_forward
from saltjax.train.guard import Decode, stopped
from saltjax.train.interrupt import stop_wish
from saltjax.train.journal import Journal
from saltjax.train.lora import merged, with_adapters
from saltjax.train.mesh import check_batch, make_mesh
from saltjax.train.meter import Meter, NotFinite
from saltjax.train.phases import Phases
from saltjax.train.profile import Profile
from saltjax.train.run import Run, resolved
from saltjax.train.sharding import replicated_notes
from saltjax.train.shelf import Shelf
from saltjax.train.step import State, abstract_state, global_batch, make_step, start
from saltjax.train.trainable import Mask, count

Score = Callable[[dict], dict[str, float]]
Account = Callable[[int], dict[str, Any]]


@runtime_checkable
class Batches(Protocol):
    """An endless Grain iterator of dicts tokens, segments, positions (and learns): int32 [local batch, seq_len]."""

    def __next__(self) -> dict[str, np.ndarray]: ...
    def __iter__(self) -> Iterator[dict[str, np.ndarray]]: ...
    def get_state(self) -> Any: ...
    def set_state(self, state: Any) -> None: ...


class Trained(NamedTuple):
    """How a run stands: steps done, last logged loss (nats a token), last held-out {name: bits per byte}, speed of this
    call (`meter.SPEED`), directory of the last checkpoint; whether Ctrl-C or SIGTERM ended it; parameters."""

    step: int
    loss: float | None
    valid: dict[str, float]
    speed: dict[str, float | None]
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
    decode: Decode | None = None,
) -> Trained:
    """Train until `run.config.steps`, starting from the run's last checkpoint if it has one.

    `model.params` are used up (donated) by the first step; on a run with a checkpoint they may be abstract. `score`
    gives held-out bits per byte of parameters: before the first step, every `eval_every`, and after the last. `account`
    says what was seen of each corpus in so many steps, for metrics.jsonl: {"epochs": {corpus: value}, ...}. `decode`
    makes text of token ids, for people (`guard.py`).

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
    phases = Phases(base, config)
    shelf = Shelf(run, config)
    if found := shelf.restore(lambda step: abstract_state(base, phases.mask(step), config, mesh)):
        step, state, data = found
        batches.set_state(data["batches"])
        begun = data["tokens"], data["seconds"]
    else:
        step, state, begun = 0, start(base, phases.mask(0), config, mesh), (0, 0.0)
    kind = chip(mesh.devices.flat[0])
    meter = Meter(mesh.size, kind and kind.flops, *begun)

    def save() -> None:
        done = meter.total
        data = {"batches": batches.get_state(), "tokens": done.tokens, "seconds": done.seconds}
        shelf.save(step, state, data, journal.best(config.keep_best))

    def settled() -> dict[str, Any] | None:
        """The metrics of the step in flight. UserError: they are not finite."""
        try:
            return meter.settle()
        except NotFinite as found:
            learning = (path for path, learns in phases.mask(found.step - 1).items() if learns)
            raise stopped(run, found, state.params, learning, shelf.good, decode) from None

    journal = Journal(run, step if found else None)
    train_step: Any = None
    flops = 0.0
    with stop_wish(journal.say) as stop, shelf, journal, Profile(run.path, config.profile_steps) as profile:
        journal.say(_summary(run, model, config.trainable, mesh, count(base, phases.last)))
        for note in (*shelf.notes, *replicated_notes(base, mesh)):
            journal.say(note)
        while not (ending := stop()):  # asked at the same places by all processes
            if score and step not in journal.scores and due(step, config.eval_every, config.steps, first=True):
                journal.evaluation(step, _scores(score, state, phases.mask(step), config))
                if ending := stop():
                    break
            if step not in shelf and (shelf.due(step) or step == journal.best(config.keep_best)):
                save()
            if step >= config.steps:
                break

            profile.begin(step + 1)
            meter.begin()
            rows = next(batches)
            batch = global_batch(rows, mesh)
            meter.fetched()
            if train_step is None:  # ahead of time: it cannot compile twice, and its time is not training time
                train_step = make_step(forward, phases.mask(step), config, mesh, state).lower(state, batch).compile()
                flops = step_flops(model.config, base, phases.mask(step), config.batch_size, config.seq_len)
                meter.begin()
            with profile.step(step + 1):
                state, values = train_step(state, batch)
            settled()  # the step before, while this one runs: the device never waits for the host
            step += 1
            meter.launched(step, values, rows)
            logs = step == 1 or step % config.log_every == 0 or step == config.steps
            waits = due(step, config.eval_every, config.steps) or shelf.due(step) or phases.begins(step)
            numbers = settled() if logs or waits or profile.ends(step) else None
            meter.end(flops)
            profile.end(step)

            if logs and numbers:
                journal.training(step, numbers, {**meter.since_logged(), **(account(step) if account else {})})
            else:
                journal.progress.step(step)
            if phases.begins(step):  # the state is kept ready for its next step, so that it can be resumed from here
                before, train_step = phases.mask(step - 1), None
                state = start(state.params, phases.mask(step), config, mesh, carried=(state, before))
        settled()
        if ending and step not in shelf:
            save()
        journal.draw()
        if interrupted := ending and (step < config.steps or bool(score and step not in journal.scores)):
            journal.say(f"saved step {step} of {config.steps} in {run.path}; run the same command again to resume")
    return Trained(
        step=step,
        loss=journal.loss,
        valid=journal.valid,
        speed=meter.speed,
        checkpoint=run.checkpoints / str(shelf.last) if shelf.last is not None else None,
        interrupted=interrupted,
        params=merged(state.params, config),
    )


def _scores(score: Score, state: State, mask: Mask, config: AdaptConfig) -> dict[str, float]:
    """Of the parameters, and of their moving averages where there are any."""
    found = score(merged(state.params, config))
    if not config.ema:
        return found
    means = score(merged(with_means(state.params, state.opt_state, mask), config))
    return {**found, **{name + SUFFIX: value for name, value in means.items()}}


def _summary(run: Run, model: Model, spec: str, mesh: Mesh, learning: int) -> str:
    total = sum(x.size for x in jax.tree.leaves(model.params))
    axes = " x ".join(f"{name}={size}" for name, size in mesh.shape.items())
    return (
        f"{run.path}: {learning:,} of {total:,} parameters learn (trainable={spec}), "
        f"mesh {axes} on {mesh.size} of {len(jax.devices())} {jax.devices()[0].platform} devices"
    )
