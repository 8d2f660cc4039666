"""transfer --expand: the same rows, appended to the source's vocabulary."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from saltjax.data.corpus import file_source
from saltjax.errors import UserError
from saltjax.transfer.expansion import enlarge, expansion_of
from saltjax.transfer.heads import Output
from saltjax.transfer.initialisation import Initialisation
from saltjax.transfer.splice import spliced
from saltjax.transfer.surgery import Patient


def expanded(
    source: Patient,
    target: Patient,
    initialisation: Initialisation,
    output: Output,
    texts: Sequence[str | Path],
    size: int | None,
    out: Path,
) -> tuple[Initialisation, dict[str, Any], dict[str, Any]]:
    """Write the expanded model to `out`: (what its rows are, what became of its head, what was appended)."""
    if output.bias == "unigram":
        raise UserError("--bias unigram gives every token a new bias, --expand keeps those of SOURCE: choose one")

    def documents() -> Iterator[str]:
        for path in texts:
            yield from file_source(path).documents()

    expansion = expansion_of(source, target.vocabulary, documents if texts else None, size)
    vocabulary, appended = expansion.vocabulary, expansion.appended
    rows = spliced(initialisation, vocabulary, appended)
    if output.rerun is not None:
        output = replace(output, rerun=spliced(output.rerun, vocabulary, appended))
    return rows, enlarge(source, expansion, rows, output, out), expansion.found
