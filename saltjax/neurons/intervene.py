"""What holding a language's neurons does to text of every language, beside random neurons."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from saltjax.errors import UserError
from saltjax.evaluate.bits_per_byte import HeldOut, score
from saltjax.models.model import Model
from saltjax.neurons.files import PERCENTS, Known
from saltjax.neurons.surgery import held, with_biases
from saltjax.train.neuronsets import control

VALUES = ("zero", "mean", *(f"p{percent}" for percent in PERCENTS))
Measure = Callable[[Model], Any]


class Beside(NamedTuple):
    """One intervention and its controls: the same number of neurons in each layer, at their own values."""

    held: Any
    controls: list[Any]


def values(known: Known, language: str, how: str) -> Float[np.ndarray, "l f"]:
    """What each neuron is held at: `zero`, the `mean` or a percentile (`p5` ... `p95`) of its activations in the text
    of this language, or a number."""
    if how in VALUES and how != "zero":
        return known.values[language][how]
    shape = next(iter(known.neurons.values())).shape
    try:
        number = 0.0 if how == "zero" else float(how)
    except ValueError:
        number = np.inf
    if not np.isfinite(number):
        raise UserError(f"--values {how} is not known; there are {', '.join(VALUES)} and any number")
    return np.full(shape, number, np.float32)


def beside(model: Model, known: Known, language: str, how: str, controls: int, seed: int, measure: Measure) -> Beside:
    """`measure` of the model (with biases) with the language's neurons held, and with as many others, drawn with
    `seed`, `seed` + 1, ..."""
    at, neurons = values(known, language, how), known.neurons[language]

    def measured(chosen: Bool[np.ndarray, "l f"]) -> Any:
        return measure(held(model, chosen, at, known.point))

    return Beside(measured(neurons), [measured(control(neurons, seed + i)) for i in range(controls)])


class Perplexities(NamedTuple):
    """Perplexities a token and bits per byte. Rows i are whose neurons are held, columns j the text."""

    plain: Float[np.ndarray, " j"]
    held: Float[np.ndarray, "i j"]
    controls: Float[np.ndarray, "n i j"]
    bits_per_byte: dict[str, np.ndarray]  # plain [j], held [i, j], controls [n, i, j]


def perplexities(
    model: Model,
    known: Known,
    texts: Mapping[str, HeldOut],
    how: str,
    controls: int,
    seed: int,
    batch_size: int,
    dtype: Any,
    tell: Callable[[str], None] = lambda line: None,
) -> Perplexities:
    """PPX(j), PPX(j | neurons of i held at their values in i's text), and that for random neurons; PPXC(i, j) of Mondal
    et al. is the second less the first. Where i = j, this is their intervention for evaluation."""
    model = with_biases(model)

    def measure(model: Model) -> list[tuple[float, float]]:
        scores = [score(model.config, model.graphdef, model.params, text, batch_size, dtype) for text in texts.values()]
        return [(2 ** (one.bits_per_byte * one.bytes / one.tokens), one.bits_per_byte) for one in scores]

    plain = np.array(measure(model))
    rows, others = [], []
    for language in known.neurons:
        row = beside(model, known, language, how, controls, seed, measure)
        rows.append(row.held)
        others.append(row.controls)
        tell(f"neurons of {language}: done")
    ours, random = np.array(rows), np.array(others).reshape(len(rows), controls, len(texts), 2).swapaxes(0, 1)
    bits = {"plain": plain[:, 1], "held": ours[..., 1], "controls": random[..., 1]}
    return Perplexities(plain[:, 0], ours[..., 0], random[..., 0], bits)
