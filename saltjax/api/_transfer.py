"""transfer and inspect: from two model directories to a posed problem, and to a new checkpoint."""

import hashlib
import importlib.metadata
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console
from rich.progress import Progress

from saltjax.api._bilingual import bilingual
from saltjax.api._fertility import fertility
from saltjax.api._output import output
from saltjax.data.corpus import TextFile
from saltjax.errors import UserError
from saltjax.hub.directory import whole_directory
from saltjax.hub.locate import locate
from saltjax.transfer.choose import find, options_of, rule, settled, typed
from saltjax.transfer.initialisation import Initialisation
from saltjax.transfer.material import Material
from saltjax.transfer.problem import Problem, Space, pose, with_nothing_copied
from saltjax.transfer.report import describe_vocabulary, support_quantiles, write_card, write_json, write_tokens
from saltjax.transfer.surgery import Patient, open_patient, operate
from saltjax.vocab.auxiliary import Auxiliary, load_auxiliary, train_auxiliary
from saltjax.vocab.geometry import geometry, warning
from saltjax.vocab.vocabulary import normalizer_of

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
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write SOURCE with TARGET's vocabulary to `out`.

    Source and target are directories or hub ids. `aux` (fastText .bin or .vec) or `aux_text` (files to train on)
    describe the target language's words; `neighbours="plm"` needs neither. `head`, `bias` and `norms`: docs/heads.md.
    `dictionary` (source word, target word) adds anchors; `source_aux`, `parallel` and `alignments` are what bilingual
    methods ask for (docs/vocabulary.md). `text` is text of the target language, for what counts tokens.

    Returns out, method, seconds, tokens{total, copied, fitted, special, fallback}, k{median, p90, max} (null without
    neighbours), anchors, peak_memory_bytes, warnings, and what `transfer.json` holds. Raises UserError; `out` then does
    not exist, or is as it was.
    """
    started = time.perf_counter()
    if norms not in ("keep", "calibrate"):
        raise UserError(f"--norms {norms} is not known; there are keep and calibrate")
    chosen, space = _chosen(method, options, neighbours)
    with whole_directory(out, overwrite) as partial:
        patient, donor = open_patient(locate(source)), open_patient(locate(target))
        auxiliary = _auxiliary(aux, aux_text, donor, seed) if space == "aux" or aux or aux_text else None
        languages, found = bilingual(dictionary, source_aux, parallel, alignments)
        pairs = languages.get("dictionary", ())
        material = Material(
            **languages,
            source_tokenizer=patient.tokenizer,
            target_tokenizer=donor.tokenizer,
            auxiliary=auxiliary,
            text=tuple(TextFile(Path(path)) for path in text),
            seed=seed,
            mesh=_accelerators(),
        )

        def initialised(plm_table: np.ndarray) -> Initialisation:
            problem = pose(patient.vocabulary, donor.vocabulary, plm_table, space, auxiliary, fuzzy, pairs)
            if not find(method).copies:
                problem = with_nothing_copied(problem)
            return Initialisation(
                *settled(problem, rule(method, problem, material, chosen)), seed, norms == "calibrate"
            )

        initialisation = initialised(donor.embedding())
        problem, initialiser = initialisation.problem, initialisation.rule
        warnings = _warnings(problem, space, auxiliary)
        behind, behind_notes = output(head, bias, text, patient, donor, initialised)
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
                "seed": seed,
            },
            "method": method,
            "tokens": problem.counts,
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


def inspect(
    source: str | Path,
    target: str | Path,
    *,
    aux: str | Path | None = None,
    aux_text: Paths = (),
    fuzzy: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """What SOURCE and TARGET share and what a transfer would do; writes nothing.

    Returns tokens{...} and anchors as `transfer` would, coverage (the share of target tokens with a copied, special or
    fitted row), fertility{source, target} (tokens a word of the auxiliary text, or of the target's own words without
    one), warnings. Without auxiliary vectors the neighbours are those of the PLM's space.
    """
    patient, donor = open_patient(locate(source)), open_patient(locate(target))
    auxiliary = _auxiliary(aux, aux_text, donor, seed) if aux or aux_text else None
    space: Space = "aux" if auxiliary else "plm"
    problem = pose(patient.vocabulary, donor.vocabulary, donor.embedding(), space, auxiliary, fuzzy)
    counts = problem.counts
    return {
        "source": str(source),
        "target": str(target),
        "neighbours": space,
        "tokens": counts,
        "anchors": len(problem.anchors_source),
        "coverage": 1 - counts["fallback"] / counts["total"],
        "fertility": fertility(patient, donor, aux_text),
        "warnings": _warnings(problem, space, auxiliary),
    }


def _chosen(method: str, options: Mapping[str, Any] | None, neighbours: str | None) -> tuple[dict[str, Any], Space]:
    """All options of the method with their values, and the space that must describe its tokens."""
    given = {**(options or {}), **({"neighbours": neighbours} if neighbours else {})}
    chosen = options_of(method) | typed(method, given)
    space = find(method).space
    return chosen, "plm" if chosen.get("neighbours") == "plm" else space


def _auxiliary(aux: str | Path | None, aux_text: Paths, donor: Patient, seed: int) -> Auxiliary:
    if aux and aux_text:
        raise UserError("--aux and --aux-text are two ways to the same thing: give one of them")
    if aux:
        return load_auxiliary(aux)
    if not aux_text:
        raise UserError(
            "SALT seeks neighbours in vectors of the target language: give --aux FILE.bin|FILE.vec, "
            "--aux-text FILE..., or take the PLM's own space with --neighbours plm"
        )
    texts = [TextFile(Path(path)) for path in aux_text]
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("training auxiliary vectors", total=1.0)
        return train_auxiliary(
            texts, seed, normalizer_of(donor.tokenizer), lambda done: progress.update(task, completed=done)
        )


def _warnings(problem: Problem, space: Space, auxiliary: Auxiliary | None) -> list[str]:
    flat = warning(geometry(problem.aux_anchors)) if space == "aux" and problem.aux_anchors is not None else None
    return [*problem.warnings, *(auxiliary.notes if auxiliary else []), *([flat] if flat else [])]


def _accelerators() -> Mesh | None:
    """All accelerators of this machine, if there are several. (A CPU's cores work together on one device.)"""
    devices = jax.local_devices()
    return Mesh(np.array(devices), ("tokens",)) if len(devices) > 1 and devices[0].platform != "cpu" else None


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
