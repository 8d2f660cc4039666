"""transfer: from two model directories to a posed problem, and to a new checkpoint."""

import hashlib
import importlib.metadata
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saltjax.api._bilingual import bilingual
from saltjax.api._described import accelerators, auxiliary_of, warnings_of
from saltjax.api._expanded import expanded
from saltjax.api._output import output
from saltjax.data.corpus import TextFile
from saltjax.errors import UserError
from saltjax.hub.directory import whole_directory
from saltjax.hub.locate import locate
from saltjax.transfer.auto import auto
from saltjax.transfer.choose import find, options_of, rule, settled, typed
from saltjax.transfer.initialisation import Initialisation
from saltjax.transfer.material import Material
from saltjax.transfer.problem import Space, pose, with_nothing_copied
from saltjax.transfer.report import describe_vocabulary, support_quantiles, write_card, write_json, write_tokens
from saltjax.transfer.surgery import Patient, open_patient, operate

Paths = Sequence[str | Path]


def transfer(
    source: str | Path,
    target: str | Path,
    out: str | Path,
    *,
    aux: str | Path | None = None,
    aux_text: Paths = (),
    method: str = "salt",
    head: str = "auto",
    bias: str = "mixed",
    norms: str = "keep",
    options: Mapping[str, Any] | None = None,
    neighbours: str | None = None,
    fuzzy: bool = False,
    dictionary: str | Path | None = None,
    source_aux: str | Path | None = None,
    parallel: str | Path | None = None,
    alignments: str | Path | None = None,
    text: Paths = (),
    expand: bool = False,
    expand_size: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write SOURCE with TARGET's vocabulary to `out`.

    Source and target are directories or hub ids. `aux` (fastText .bin or .vec) or `aux_text` (files to train on)
    describe the target language's words; `neighbours="plm"` needs neither. `head`, `bias` and `norms`: docs/heads.md.
    `dictionary` (source word, target word) adds anchors; `source_aux`, `parallel` and `alignments` are what bilingual
    methods ask for (docs/vocabulary.md). `text` is text of the target language, for what counts tokens. `expand`
    appends the target's tokens to the source's vocabulary instead, `expand_size` those that save most in `text`.
    `method="auto"` takes the one that predicts held-out rows best (`transfer.auto`); `auto` in the result says why.

    Returns out, method, seconds, tokens{total, copied, fitted, special, fallback}, k{median, p90, max} (null without
    neighbours), anchors, peak_memory_bytes, warnings, and what `transfer.json` holds. Raises UserError; `out` then does
    not exist, or is as it was.
    """
    started = time.perf_counter()
    if norms not in ("keep", "calibrate"):
        raise UserError(f"--norms {norms} is not known; there are keep and calibrate")
    automatic = method == "auto"
    if automatic and (options or neighbours):
        raise UserError("--method auto chooses the method and its settings: leave --option and --neighbours out")
    chosen, space = ({}, "plm") if automatic else _chosen(method, options, neighbours)
    with whole_directory(out, overwrite) as partial:
        patient, donor = open_patient(locate(source)), open_patient(locate(target))
        looks = space == "aux" or ((aux or aux_text) and (automatic or find(method).vectors))
        auxiliary = auxiliary_of(aux, aux_text, donor, seed) if looks else None
        languages, found = bilingual(dictionary, source_aux, parallel, alignments)
        pairs = languages.get("dictionary", ())
        material = Material(
            **languages,
            source_tokenizer=patient.tokenizer,
            target_tokenizer=donor.tokenizer,
            auxiliary=auxiliary,
            text=tuple(TextFile(Path(path)) for path in text),
            seed=seed,
            mesh=accelerators(),
        )

        if automatic:
            everywhere: Space = "aux" if auxiliary else "plm"
            posed = pose(patient.vocabulary, donor.vocabulary, donor.embedding(), everywhere, auxiliary, fuzzy, pairs)
            method, found["auto"] = auto(posed, material, patient.embedding())
            chosen, space = _chosen(method, None, None)

        def initialised(plm_table: np.ndarray) -> Initialisation:
            problem = pose(patient.vocabulary, donor.vocabulary, plm_table, space, auxiliary, fuzzy, pairs)
            if not find(method).copies:
                problem = with_nothing_copied(problem)
            return Initialisation(
                *settled(problem, rule(method, problem, material, chosen)), seed, norms == "calibrate"
            )

        initialisation = initialised(donor.embedding())
        problem, initialiser = initialisation.problem, initialisation.rule
        warnings = warnings_of(problem, space, auxiliary)
        behind, behind_notes = output(head, bias, text, patient, donor, initialised)
        if expand or expand_size is not None:
            initialisation, found_head, found["expansion"] = expanded(
                patient, donor, initialisation, behind, text, expand_size, partial
            )
            notes: list[str] = []
        else:
            notes, found_head = operate(patient, donor, initialisation, behind, partial)
        record = {
            "settings": {
                "source": str(source),
                "target": str(target),
                "method": method,
                "options": chosen,
                "head": head,
                "bias": bias,
                "norms": norms,
                "neighbours": space,
                "fuzzy": fuzzy,
                "expand": expand or expand_size is not None,
                "seed": seed,
            },
            "method": method,
            "tokens": initialisation.problem.counts,
            "k": support_quantiles(initialiser),
            "anchors": len(problem.anchors_source),
            "source": _fingerprint(patient),
            "target": _fingerprint(donor),
            "translated": len(problem.overlap.translated),
            "auxiliary": auxiliary.source if auxiliary else None,
            **found,
            "warnings": warnings,
            "head": found_head,
            "notes": [*behind_notes, *notes],
            "versions": {
                name: importlib.metadata.version(name) for name in ("saltjax", "jax", "numpy", "transformers")
            },
        }
        write_json(partial / "transfer.json", record)
        write_tokens(partial / "tokens.tsv.gz", initialisation, _new_embedding(partial))
        write_card(partial / "README.md", record)
    return {
        "out": str(out),
        **record,
        "seconds": round(time.perf_counter() - started, 3),
        "peak_memory_bytes": _peak_memory(),
    }


def _chosen(method: str, options: Mapping[str, Any] | None, neighbours: str | None) -> tuple[dict[str, Any], Space]:
    """All options of the method with their values, and the space that must describe its tokens."""
    given = {**(options or {}), **({"neighbours": neighbours} if neighbours else {})}
    chosen = options_of(method) | typed(method, given)
    space = find(method).space
    return chosen, "plm" if chosen.get("neighbours") == "plm" else space


def _fingerprint(patient: Patient) -> dict[str, Any]:
    table = patient.embedding()
    digest = hashlib.sha256(np.ascontiguousarray(table).view(np.uint8).data).hexdigest()
    return {
        "model_type": patient.config.model_type,
        "embedding": {"name": patient.tables.inputs[0], "shape": list(table.shape), "dtype": str(table.dtype)},
        "embedding_sha256": digest,
        **describe_vocabulary(patient.vocabulary),
    }


def _new_embedding(directory: Path) -> np.ndarray:
    return open_patient(directory).embedding()


def _peak_memory() -> int:
    """Of this process, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
