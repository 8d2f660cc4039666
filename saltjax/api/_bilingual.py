"""What a transfer is given about two languages: a dictionary, vectors of the source's, a word-aligned parallel text."""

from pathlib import Path
from typing import Any

from saltjax.data.files import StoredFile, lines
from saltjax.errors import UserError
from saltjax.vocab.alignment import aligned_words
from saltjax.vocab.auxiliary import load_auxiliary
from saltjax.vocab.dictionary import read_dictionary

File = str | Path | None


def bilingual(
    dictionary: File, source_aux: File, parallel: File, alignments: File
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(fields of `Material`, the same for the report: each file with its SHA-256 and what was found in it)."""
    fields: dict[str, Any] = {}
    record: dict[str, Any] = {}
    if dictionary:
        fields["dictionary"] = read_dictionary(lines(dictionary), dictionary)
        record["dictionary"] = {**_stored(dictionary), "pairs": len(fields["dictionary"])}
    if source_aux:
        fields["source_auxiliary"] = load_auxiliary(source_aux)
        record["source_auxiliary"] = fields["source_auxiliary"].source
    if parallel and alignments:
        fields["links"] = aligned_words(lines(parallel), lines(alignments), parallel, alignments)
        found = {"links": fields["links"].total(), "pairs": len(fields["links"])}
        record["alignments"] = {"parallel": _stored(parallel), **_stored(alignments), **found}
    elif parallel or alignments:
        raise UserError(
            "--parallel and --alignments belong together: a parallel text and the word alignments of its lines"
        )
    return fields, record


def _stored(path: str | Path) -> dict[str, str]:
    return {"path": str(path), "sha256": StoredFile(path).sha256()}
