"""One streaming pass of text through a model: windows in, `Statistics` out, resumed where it was interrupted."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Float

from saltjax.errors import UserError
from saltjax.models.config import DecoderConfig
from saltjax.models.mlp import Neurons
from saltjax.models.model import Model
from saltjax.models.tap import check_has_neurons
from saltjax.neurons.counting import Sums, counted, quantiles
from saltjax.neurons.state import key_of, read, write
from saltjax.neurons.statistics import Statistics
from saltjax.neurons.text import Text
from saltjax.train.mesh import batch_sharding

POINTS = Neurons._fields
EDGES = 64  # of the sketch: a rank is wrong by about 1/64 at most before interpolation
SAMPLES = 4  # batches, evenly spread over the text, that the edges are taken from
FLUSH = 32  # batches that are added up on the devices, in float32 and int32, before the host takes them


class Pass(NamedTuple):
    """How text goes through a model. `point` is one of `POINTS`: before or after the activation function, or the gated
    product. `states` is a directory for the states of passes, kept by what they depend on; `model_sha256` is the
    model's part of that."""

    model: Model
    model_sha256: str
    mesh: Mesh
    point: str
    dtype: Any
    batch_size: int
    states: Path

    @property
    def rows(self) -> int:
        """Windows a batch: `batch_size`, rounded up to what the mesh divides."""
        ways = self.mesh.shape["data"] * self.mesh.shape["fsdp"]
        return -(-self.batch_size // ways) * ways

    def placed(self, text: Text, start: int) -> dict[str, jax.Array]:
        where = batch_sharding(self.mesh)
        batch = text.rows(start, self.rows)
        return {key: jax.make_array_from_callback(x.shape, where, x.__getitem__) for key, x in batch.items()}


def check(config: DecoderConfig, texts: dict[str, Text], point: str, where: str) -> None:
    """UserError for what cannot go through the model."""
    check_has_neurons(config)
    if point not in POINTS:
        raise UserError(f"--point {point} is not known; there are {', '.join(POINTS)}")
    for language, text in texts.items():
        if text.windows.seq_len > config.max_positions:
            raise UserError(
                f"seq_len={text.windows.seq_len} is more than the {config.max_positions} positions of {where}"
            )
        if (largest := text.windows.store.counts.largest_id) >= config.vocab_size:
            raise UserError(
                f"{where}: the tokenizer gives id {largest} in {language}, but the model has {config.vocab_size} "
                "embedding rows; they do not belong together"
            )


def edges(run: Pass, text: Text, count: int = EDGES) -> Float[np.ndarray, "l e f"]:
    """Evenly spaced quantiles of each neuron over a few batches: the edges of its sketch."""
    percents = tuple(100 * (i + 0.5) / count for i in range(count))
    batches = -(-len(text.chosen) // run.rows)
    chosen = sorted({batches * i // SAMPLES for i in range(SAMPLES)})
    how = {"dtype": run.dtype, "point": run.point, "percents": percents, "mesh": run.mesh}
    found = [
        np.asarray(quantiles(run.model.graphdef, run.model.params, **run.placed(text, i * run.rows), **how))
        for i in chosen
    ]
    return np.stack(found).mean(axis=0, dtype=np.float64).astype(np.float32)


def collect(
    run: Pass,
    text: Text,
    thresholds: Float[np.ndarray, "l e f"] | None = None,
    batch_percents: tuple[float, ...] = (),
    tell: Callable[[int, int], None] | None = None,
) -> Statistics:
    """The statistics of every neuron over the text; the counts are those above 0 and above `thresholds`, by default the
    edges of a sketch.

    Sums are float32 and int32 on the devices for `FLUSH` batches, then float64 and int64. The state is kept after each
    of these blocks: an interrupted pass goes on there and ends with the same numbers, a finished one is only read.
    `tell` is called with the windows that are done and their number.

    Raises UserError: activations that are not finite; a damaged state.
    """
    key = key_of(
        run.model_sha256, text, run.point, str(jnp.dtype(run.dtype)), run.rows, batch_percents,
        "sketch" if thresholds is None else hashlib.sha256(thresholds.tobytes()).hexdigest(),
    )  # fmt: skip
    state = run.states / f"{key}.safetensors"
    if state.exists():
        done, found = read(state)
    else:
        config = run.model.config
        zero = np.zeros((config.layers, 1, config.mlp_size), np.float32)
        given = edges(run, text) if thresholds is None else thresholds
        done, found = 0, Statistics.none(np.concatenate([zero, given], axis=1), len(batch_percents))
    here = NamedSharding(run.mesh, P())
    limits = jax.device_put(found.thresholds, here)
    how = {"dtype": run.dtype, "point": run.point, "percents": batch_percents, "mesh": run.mesh}
    block = FLUSH * run.rows
    if block * text.windows.seq_len >= 1 << 31:
        raise UserError(f"--batch-size {run.batch_size} is too large: int32 counts would overflow")
    while done < len(text.chosen):
        stop = min(done + block, len(text.chosen))
        sums = _nothing(found, here)
        for start in range(done, stop, run.rows):
            sums = counted(
                run.model.graphdef, run.model.params, **run.placed(text, start), thresholds=limits, before=sums, **how
            )
        tokens = text._replace(chosen=text.chosen[done:stop]).tokens
        fresh = _on_host(found.thresholds, sums, tokens, math.ceil((stop - done) / run.rows))
        if not (np.isfinite(fresh.absolute).all() and np.isfinite(found.thresholds).all()):
            raise UserError("the model's activations are not finite; try --dtype float32")
        found += fresh
        done = stop
        write(state, done, found)
        if tell:
            tell(done, len(text.chosen))
    return found


def _nothing(found: Statistics, where: NamedSharding) -> Sums:
    zeros, infinite = np.zeros(found.low.shape, np.float32), np.full(found.low.shape, np.inf, np.float32)
    sums = (zeros, zeros, infinite, -infinite, np.zeros(found.quantiles.shape, np.float32))
    return Sums(*(jax.device_put(x, where) for x in (np.zeros(found.above.shape, np.int32), *sums)))


def _on_host(thresholds: np.ndarray, sums: Sums, tokens: int, batches: int) -> Statistics:
    above, total, absolute, low, high, batch_quantiles = map(np.asarray, sums)
    return Statistics(
        tokens, batches, thresholds, above.astype(np.int64), total.astype(np.float64), absolute.astype(np.float64),
        low, high, batch_quantiles.astype(np.float64),
    )  # fmt: skip
