"""The neurons of languages as what learns: neurons.json, and a choice out of it.

A choice is written FILE@vi, FILE@en,vi (both together) or FILE@random:vi (a control: as many others of each layer;
random:vi:3 is another draw). FILE is a directory of `saltjax neurons find`, or its neurons.json.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from saltjax.errors import UserError

SPARSE, MASKED = "neurons:", "lora:"  # parts of `trainable`
NEURONS, RANDOM = "neurons.json", "random:"


class Sets(NamedTuple):
    """What neurons.json holds; `provenance` is where it came from: model_sha256, text_sha256, ..."""

    method: str
    point: str
    neurons: dict[str, Bool[np.ndarray, "l f"]]
    provenance: dict[str, Any]


def read_sets(file: Path) -> Sets:
    """UserError: no neurons.json of `neurons find`, or a damaged one."""
    path = _inside(file)
    if not path.is_file():
        raise UserError(f"{path}: missing; {file} is not what `saltjax neurons find` writes")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        shape = (len(record["sizes"]), max(record["sizes"]))
        neurons = {language: _mask(sets, shape) for language, sets in record["languages"].items()}
        return Sets(record["method"], record["point"], neurons, record.get("provenance", {}))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OSError) as error:
        raise UserError(f"{path}: damaged ({error}); run `saltjax neurons find` again") from None


def _mask(sets: Mapping[str, list[int]], shape: tuple[int, int]) -> Bool[np.ndarray, "l f"]:
    mask = np.zeros(shape, bool)
    for layer, indices in sets.items():
        mask[int(layer), indices] = True
    return mask


def control(neurons: Bool[np.ndarray, "l f"], seed: int) -> Bool[np.ndarray, "l f"]:
    """As many neurons in each layer, drawn from the others of the layer (from all, where those are too few)."""
    rng = np.random.default_rng(seed)
    drawn = np.zeros_like(neurons)
    for own, layer in zip(drawn, neurons, strict=True):
        count = int(layer.sum())
        pool = np.flatnonzero(~layer) if 2 * count <= len(layer) else np.arange(len(layer))
        own[rng.choice(pool, count, replace=False)] = True
    return drawn


def chosen(choice: str, shapes: Mapping[str, tuple[int, ...]]) -> Bool[np.ndarray, "l f"]:
    """The neurons of FILE@LANG... in a model with parameters of these shapes.

    UserError: see `read_sets`; no or an unknown language; a language without neurons; neurons of another model's shape;
    a mixture of experts.
    """
    file, at, languages = choice.rpartition("@")
    if not (at and file and languages):
        raise UserError(f"neurons {choice!r}: write FILE@LANG, FILE@LANG,LANG or FILE@{RANDOM}LANG")
    if "layers.mlp.up" not in shapes:
        raise UserError(f"neurons {choice!r}: the model is a mixture of experts; neurons need one MLP a layer")
    found, (layers, _, size) = read_sets(Path(file)).neurons, shapes["layers.mlp.up"]
    together = np.zeros((layers, size), bool)
    for one in languages.split(","):
        name, draw = _control(one) if one.startswith(RANDOM) else (one, None)
        if name not in found:
            raise UserError(f"{file}: there are no neurons of {name!r}; there are those of {', '.join(found)}")
        own = found[name]
        check_shape(own, layers, size, file)
        if not own.any():
            raise UserError(f"{file}: {name} has no neuron of its own; find more of them with a larger --rate")
        together |= own if draw is None else control(own, draw)
    return together


def check_shape(neurons: Bool[np.ndarray, "l f"], layers: int, size: int, file: str | Path) -> None:
    """UserError: the neurons are those of a model with other layers."""
    if neurons.shape != (layers, size):
        found, own = neurons.shape
        raise UserError(
            f"{file}: {found} layers of {own} neurons, but the model has {layers} of {size}; "
            "they were found in another model"
        )


def _control(text: str) -> tuple[str, int]:
    language, colon, seed = text.removeprefix(RANDOM).partition(":")
    if colon and not seed.isdigit():
        raise UserError(f"{text}: the number of a draw is whole, as in {RANDOM}{language}:1")
    return language, int(seed or 0)


def choices(specs: Iterable[str]) -> list[str]:
    """The FILE@LANG... that these `trainable`s name."""
    parts = [part.strip() for spec in specs for part in spec.split("+")]
    return [part.partition(":")[2] for part in parts if part.startswith((SPARSE, MASKED))]


def origins(specs: Iterable[str]) -> list[dict[str, Any]]:
    """Of each choice where its neurons come from, for the run's inputs: choice, sha256 of the file, method, point, and
    the model that they were found in. UserError: see `read_sets`."""
    found = []
    for choice in choices(specs):
        file = Path(choice.rpartition("@")[0])
        sets = read_sets(file)
        digest = hashlib.sha256(_inside(file).read_bytes()).hexdigest()
        model = sets.provenance.get("model_sha256")
        found.append(
            {"choice": choice, "sha256": digest, "method": sets.method, "point": sets.point, "model_sha256": model}
        )
    return found


def _inside(file: Path) -> Path:
    return file / NEURONS if file.is_dir() else file
