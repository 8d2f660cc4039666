"""Expansion instead of replacement: the target's tokens are appended to the source's vocabulary."""

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from saltjax.errors import UserError
from saltjax.hub.config import with_vocabulary
from saltjax.hub.shards import copy_checkpoint
from saltjax.hub.tokenizer import rebuilt, write_tokenizer
from saltjax.transfer.heads import Output, new_tables
from saltjax.transfer.initialisation import Initialisation
from saltjax.transfer.surgery import Patient
from saltjax.vocab.expand import Appended, expand, missing
from saltjax.vocab.fertility import usage
from saltjax.vocab.vocabulary import Vocabulary, read_vocabulary

Documents = Callable[[], Iterable[str]]


@dataclass(frozen=True)
class Expansion:
    """The source's tokenizer with `appended` tokens, whose ids follow the source's; the vocabulary it has then; and
    what the report says about it."""

    tokenizer: PreTrainedTokenizerFast
    vocabulary: Vocabulary
    appended: list[Appended]
    found: dict[str, Any]


def expansion_of(source: Patient, target: Vocabulary, documents: Documents | None, size: int | None) -> Expansion:
    """Which tokens of the target are appended, see `vocab.expand`.

    All that the source lacks; with a text (`documents` gives it anew at each call) those that the expanded tokenizer
    finds in it; of these the ones that save most, until there are `size` with those that they are joined through. What
    a token saves: occurrences times the source's tokens that each replaces, less one.

    Raises UserError: `size` without a text, or below one; nothing to append.
    """
    if size is not None and (documents is None or size < 1):
        raise UserError("--expand-size N appends the N tokens that save most in a text: give --text FILE..., N >= 1")
    backend = source.tokenizer.backend_tokenizer
    old = json.loads(backend.to_str())
    wanted, unreachable = missing(backend, old, target.tokens)
    found: dict[str, Any] = {"missing": len(wanted), "unreachable": len(unreachable)}
    content, appended = expand(old, source.vocabulary, wanted)
    best = list(wanted)
    if documents is not None:
        counts = usage(rebuilt(source.tokenizer, content), documents()).counts
        places = enumerate(appended, start=source.vocabulary.size)
        saved = {a.piece: counts[i] * max(1, len(a.cut) - 1) for i, a in places if counts[i] and a.piece in wanted}
        best = sorted(saved, key=lambda piece: (-saved[piece], wanted[piece]))
        if size is not None:
            fits = lambda n: len(expand(old, source.vocabulary, wanted, best[:n])[1]) <= size  # noqa: E731
            best = best[: bisect_left(range(1, min(size, len(best)) + 1), True, key=lambda n: not fits(n))]
        content, appended = expand(old, source.vocabulary, wanted, best)
    if not appended:
        raise UserError("--expand: the source has every token of the target that the text needs; nothing to append")
    tokenizer = rebuilt(source.tokenizer, content)
    found |= {"appended": len(appended), "joining": len(appended) - len(best)}
    if documents is not None:
        both = {"before": source.tokenizer, "after": tokenizer}
        found["text"] = {name: usage(each, documents()).report() for name, each in both.items()}
    return Expansion(tokenizer, read_vocabulary(tokenizer), appended, found)


def enlarge(
    source: Patient, expansion: Expansion, initialisation: Initialisation, output: Output, out: Path
) -> dict[str, Any]:
    """Write the expanded model into the empty directory `out`; what became of its head. Special tokens and their ids,
    the chat template and generation settings are the source's."""
    replaced, found = new_tables(source.checkpoint, source.tables, initialisation, output)
    copy_checkpoint(source.checkpoint, out, replaced)
    size = expansion.vocabulary.size
    for name in ("config.json", "generation_config.json"):
        if (source.directory / name).is_file():
            content = json.loads((source.directory / name).read_text(encoding="utf-8"))
            content = with_vocabulary(content, size, {i: i for i in range(size)})
            (out / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_tokenizer(expansion.tokenizer, out)
    return found
