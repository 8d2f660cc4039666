"""vocab prune: a target vocabulary reduced to what a text needs."""

import json
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from saltjax.data.corpus import file_source
from saltjax.errors import UserError
from saltjax.hub.directory import whole_directory
from saltjax.hub.locate import locate
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.transfer.pruning import write_pruned
from saltjax.transfer.surgery import open_patient
from saltjax.vocab.fertility import usage
from saltjax.vocab.pieces import bare
from saltjax.vocab.prune import prune

ROUND_TRIP = 1000  # documents that are encoded and decoded with both tokenizers


def vocab_prune(
    target: str | Path,
    out: str | Path,
    *,
    text: Sequence[str | Path],
    coverage: float = 0.9999,
    size: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write TARGET with the tokens that `text` needs only to `out`: a model directory like any other, and a TARGET.

    Tokens are kept by frequency until they are `coverage` of the text's tokens, or until there are `size` of them; see
    `vocab.prune` for what stays in any case. The text is then cut as before, but for words that had a dropped token.

    Returns out, tokens{before, after}, coverage (of the text's tokens, before), text{before, after}{fertility,
    bytes_per_token, unknown, tokens_used}, round_trip{documents, changed}: documents (of the first thousand) that read
    otherwise when they are encoded and decoded; notes, warnings, seconds. Raises UserError.
    """
    started = time.perf_counter()
    if not text:
        raise UserError("vocab prune keeps what a text needs: give --text FILE...")
    with whole_directory(out, overwrite) as partial:
        model = open_patient(locate(target))
        before = usage(model.tokenizer, _documents(text))
        content = json.loads(model.tokenizer.backend_tokenizer.to_str())
        pruned = prune(content, model.vocabulary, before.counts, coverage, size)
        notes = write_pruned(model, pruned, partial)
        smaller = load_tokenizer(partial)
        after = usage(smaller, _documents(text))
        old, new = bare(model.tokenizer), bare(smaller)
        checked = changed = 0
        for document in islice(_documents(text), ROUND_TRIP):
            texts = [t.decode(t.encode(document, add_special_tokens=False).ids) for t in (old, new)]
            checked, changed = checked + 1, changed + (texts[0] != texts[1])
        record = {
            "settings": {
                "target": str(target),
                "text": [str(path) for path in text],
                "coverage": coverage,
                "size": size,
            },
            "tokens": {"before": len(model.vocabulary.tokens), "after": len(pruned.kept)},
            "coverage": pruned.covered,
            "text": {"before": before.report(), "after": after.report()},
            "round_trip": {"documents": checked, "changed": changed},
            "notes": notes,
            "warnings": [f"{changed} of {checked} documents read otherwise with the smaller vocabulary"]
            if changed
            else [],
        }
        (partial / "prune.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return {"out": str(out), **record, "seconds": round(time.perf_counter() - started, 3)}


def _documents(texts: Sequence[str | Path]) -> Iterator[str]:
    for path in texts:
        yield from file_source(path).documents()
