"""Bits per byte of text before a step of training, for many initialisers, without writing a model."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from saltjax.errors import UserError
from saltjax.evaluate.bits_per_byte import held_out, score
from saltjax.models.load import load_model
from saltjax.models.vocabulary import with_tables
from saltjax.transfer.heads import Output, new_tables
from saltjax.transfer.initialisation import Initialisation
from saltjax.transfer.surgery import Patient

SEQ_LEN = 512
BATCH = 8


def step0(
    patient: Patient,
    donor: Patient,
    initialisations: Iterable[tuple[str, Initialisation]],
    text: Sequence[str | Path],
) -> dict[str, dict[str, Any]]:
    """{name: {bits_per_byte, interval}} of SOURCE with the donor's vocabulary, as `transfer` would write it.

    The first file of `text`, in windows of 512 tokens (fewer where the model has fewer positions). SOURCE is loaded
    once; only its tables change. Raises UserError when SOURCE's family cannot be run.
    """
    if len(text) != 1:
        raise UserError("bits per byte are measured on one file: give one --text FILE")
    model = load_model(patient.directory)
    held = held_out(text[0], donor.tokenizer, min(SEQ_LEN, model.config.max_positions))
    dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    found = {}
    for name, initialisation in initialisations:
        tables, _ = new_tables(patient.checkpoint, patient.tables, initialisation, Output())
        swapped = with_tables(model, tables)
        result = score(swapped.config, swapped.graphdef, swapped.params, held, BATCH, dtype)
        found[name] = {"bits_per_byte": result.bits_per_byte, "interval": result.interval}
    return found
