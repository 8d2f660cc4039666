"""neurons.json and stats.safetensors: what `find` writes and `intervene` reads."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from saltjax.errors import UserError
from saltjax.neurons.statistics import Statistics
from saltjax.train.neuronsets import NEURONS, read_sets

PERCENTS = (5, 10, 25, 50, 75, 90, 95)
WAYS = ("sketch", "batches")  # to a percentile
STATISTICS = "stats.safetensors"


class Known(NamedTuple):
    """What lies in a directory of neurons. `values[language]` has mean, p5, ..., p95, each [L, f] float32."""

    method: str
    point: str
    model_sha256: str
    neurons: dict[str, Bool[np.ndarray, "l f"]]
    values: dict[str, dict[str, Float[np.ndarray, "l f"]]]


def write_neurons(
    directory: Path,
    method: str,
    point: str,
    languages: Sequence[str],
    neurons: Bool[np.ndarray, "k l f"],
    provenance: Mapping[str, Any],
) -> None:
    """{method, point, sizes: the neurons of each layer, languages{LANG{LAYER: [index, ...]}}, provenance}."""
    _, layers, size = neurons.shape
    sets = {
        language: {str(layer): np.flatnonzero(own[layer]).tolist() for layer in range(layers)}
        for language, own in zip(languages, neurons, strict=True)
    }
    record = {"method": method, "point": point, "sizes": [size] * layers, "languages": sets, "provenance": provenance}
    (directory / NEURONS).write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")


def write_statistics(directory: Path, found: Mapping[str, Statistics], provenance: Mapping[str, Any]) -> None:
    """`LANG.{positive int64, mean, abs_mean, low, high, p5, ..., p95 float32}`, all [L, f]; the metadata has
    `provenance` as JSON, and each language's tokens and its largest bracket, which bounds the error of a percentile's
    rank (`sketch.py`). Where `provenance` has percentiles=batches they are the means over batches of each batch's."""
    arrays: dict[str, np.ndarray] = {}
    languages = {}
    for language, one in found.items():
        own = {"positive": one.positive, "mean": one.mean, "abs_mean": one.absolute_mean}
        own |= {"low": one.low, "high": one.high}
        if provenance.get("percentiles") == "batches":
            own |= {f"p{percent}": one.batch_quantiles[:, i] for i, percent in enumerate(PERCENTS)}
        else:
            own |= {f"p{percent}": one.quantile(float(percent)) for percent in PERCENTS}
        for name, values in own.items():
            arrays[f"{language}.{name}"] = np.ascontiguousarray(values, np.int64 if name == "positive" else np.float32)
        brackets = [one.sketch(layer).largest_bracket() for layer in range(len(one.low))]
        languages[language] = {"tokens": one.tokens, "largest_bracket": round(max(brackets), 6)}
    described = json.dumps({**provenance, "languages": languages}, ensure_ascii=False, sort_keys=True)
    save_file(arrays, directory / STATISTICS, {"saltjax": described})


def read_neurons(directory: Path) -> Known:
    """Raises UserError: not written by `neurons find`, or damaged."""
    if lacks := [name for name in (NEURONS, STATISTICS) if not (directory / name).is_file()]:
        raise UserError(f"{directory / lacks[0]}: missing; {directory} is not what `saltjax neurons find` writes")
    method, point, neurons, _ = read_sets(directory)
    try:
        with safe_open(directory / STATISTICS, "numpy") as file:
            provenance = json.loads(file.metadata()["saltjax"])
            names = [key.rpartition(".") for key in file.keys()]  # noqa: SIM118
            values = {
                language: {name: file.get_tensor(f"{language}.{name}") for own, _, name in names if own == language}
                for language in neurons
            }
        return Known(method, point, provenance["model_sha256"], neurons, values)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, SafetensorError, OSError) as error:
        raise UserError(f"{directory}: damaged ({error}); run `saltjax neurons find` again") from None
