"""inspect: what two models share, and how well each method would do, before anything is written or trained."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saltjax.api._bilingual import bilingual
from saltjax.api._described import accelerators, auxiliary_of, warnings_of
from saltjax.api._fertility import fertility
from saltjax.api._step0 import step0
from saltjax.data.corpus import file_source
from saltjax.errors import UserError
from saltjax.hub.locate import locate
from saltjax.transfer.auto import initialisers
from saltjax.transfer.choose import METHODS, find, settled, with_options
from saltjax.transfer.initialisation import Initialisation
from saltjax.transfer.material import Material
from saltjax.transfer.problem import Problem, Space, pose, with_nothing_copied
from saltjax.transfer.scoreplot import bars
from saltjax.transfer.scoring import score
from saltjax.transfer.surgery import Patient, open_patient
from saltjax.vocab.fertility import usage

Paths = Sequence[str | Path]


def inspect(
    source: str | Path,
    target: str | Path,
    *,
    aux: str | Path | None = None,
    aux_text: Paths = (),
    fuzzy: bool = False,
    dictionary: str | Path | None = None,
    source_aux: str | Path | None = None,
    parallel: str | Path | None = None,
    alignments: str | Path | None = None,
    scores: bool = False,
    methods: Sequence[str] = (),
    text: Paths = (),
    plot: str | Path | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """What SOURCE and TARGET share and what a transfer would do; writes nothing (but the picture `plot`).

    Returns tokens{...} and anchors as `transfer` would, coverage (the share of target tokens with a copied, special or
    fitted row), fertility{source, target} (tokens a word of the auxiliary text, or of the target's own words without
    one), warnings. Without auxiliary vectors the neighbours are those of the PLM's space.

    With `scores`: scores{METHOD{...}} of the input embedding (`transfer.scoring.score`; the best first),
    head_scores{METHOD{...}} where the head is untied, shift{...} (how held-out tokens differ from new ones,
    `transfer.shift.shift`) and skipped{METHOD: why}. `methods`: these alone, NAME or NAME:KEY=VALUE:... with options;
    by default all whose material is there. `text` (one file) counts tokens for the frequency bands, and
    step0{METHOD{bits_per_byte, interval}} is measured on it, if SOURCE's family can be run (else a warning).
    `progress` is called with the name of each method that is done. Raises UserError.
    """
    patient, donor = open_patient(locate(source)), open_patient(locate(target))
    auxiliary = auxiliary_of(aux, aux_text, donor, seed) if aux or aux_text else None
    space: Space = "aux" if auxiliary else "plm"
    languages, _ = bilingual(dictionary, source_aux, parallel, alignments)
    pairs = languages.get("dictionary", ())
    problem = pose(patient.vocabulary, donor.vocabulary, donor.embedding(), space, auxiliary, fuzzy, pairs)
    counts = problem.counts
    record: dict[str, Any] = {
        "source": str(source),
        "target": str(target),
        "neighbours": space,
        "tokens": counts,
        "anchors": len(problem.anchors_source),
        "coverage": 1 - counts["fallback"] / counts["total"],
        "fertility": fertility(patient, donor, aux_text),
        "warnings": warnings_of(problem, space, auxiliary),
    }
    if not scores:
        return record
    material = Material(
        **languages,
        source_tokenizer=patient.tokenizer,
        target_tokenizer=donor.tokenizer,
        auxiliary=auxiliary,
        text=tuple(file_source(path) for path in text),
        seed=seed,
        mesh=accelerators(),
    )
    makers = initialisers(methods or METHODS, material)
    frequency = _frequency(text, donor) if text else None
    found, shift, skipped = score(problem, makers, patient.embedding(), seed=seed, counts=frequency, done=progress)
    if methods and skipped:
        raise UserError("; ".join(skipped.values()))
    record |= {"scores": found, "shift": shift, "skipped": skipped}
    if patient.tables.heads and not patient.tables.tied:
        head = patient.checkpoint.read(patient.tables.heads[0])
        able = {name: makers[name] for name in found}
        record["head_scores"] = score(problem, able, head, seed=seed, counts=frequency).scores
    if text:
        try:
            record["step0"] = step0(patient, donor, _initialised(problem, material, list(found), seed), text)
        except UserError as error:
            record["warnings"].append(f"no bits per byte before training: {error}")
    if plot:
        record["plot"] = str(bars(Path(plot), found))
    return record


def _initialised(
    problem: Problem, material: Material, names: Sequence[str], seed: int
) -> Iterator[tuple[str, Initialisation]]:
    """What `transfer` would do with each method, for the same new tokens."""
    for name, maker in initialisers(names, material).items():
        posed = problem if find(with_options(name)[0]).copies else with_nothing_copied(problem)
        yield name, Initialisation(*settled(posed, maker(posed)), seed)


def _frequency(text: Paths, donor: Patient) -> np.ndarray:
    """How often each target id occurs in the text."""
    documents = (document for path in text for document in file_source(path).documents())
    counts = np.zeros(donor.vocabulary.size, np.int64)
    for token_id, count in usage(donor.tokenizer, documents).counts.items():
        counts[token_id] = count
    return counts
