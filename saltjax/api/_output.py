"""What was asked for the head and its bias, made ready."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from saltjax.data.corpus import file_source
from saltjax.errors import UserError
from saltjax.transfer.heads import Bias, Head, Output, check, log_frequencies
from saltjax.transfer.initialisation import Initialisation
from saltjax.transfer.surgery import Patient
from saltjax.vocab.fertility import usage
from saltjax.vocab.roles import causal_roles


def output(
    head: str,
    bias: str,
    texts: Sequence[str | Path],
    patient: Patient,
    donor: Patient,
    initialised: Callable[[np.ndarray], Initialisation],
) -> tuple[Output, list[str]]:
    """(what `surgery.operate` asks for, notes). `initialised` poses and solves the problem for a table of the PLM.

    A document of `texts` counts as its tokens and one EOS. Raises UserError: see `heads.check`; "unigram" without text.
    """
    check(patient.tables, head, bias)
    rerun, notes = None, []
    if head == "rerun":
        rerun = initialised(donor.output())
        if donor.tables.tied:
            notes.append("the output rows of TARGET are its input rows: --head rerun is the same as --head same")
    frequencies = _frequencies(texts, donor) if bias == "unigram" else None
    return Output(cast(Head, head), cast(Bias, bias), rerun, frequencies), notes


def _frequencies(texts: Sequence[str | Path], donor: Patient) -> Any:
    if not texts:
        raise UserError("--bias unigram counts tokens in text of the target language: give --text FILE...")
    documents = [document for text in texts for document in file_source(text).documents()]
    counts = np.zeros(donor.vocabulary.size, np.int64)
    for token_id, count in usage(donor.tokenizer, documents).counts.items():
        counts[token_id] = count
    counts[causal_roles(donor.vocabulary.roles).eos] += len(documents)
    return log_frequencies(counts)
