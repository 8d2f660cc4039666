"""Expansion instead of replacement: the target's tokens are appended to the source's vocabulary."""

import json
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
from saltjax.vocab.expand import Appended, expand
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
    finds in it, and of these the `size` that save most: occurrences times source tokens that each replaces, less one.
    Tokens that only join others come on top of `size`.

    Raises UserError: `size` without a text, or below one; nothing to append.
    """
    if size is not None and (documents is None or size < 1):
        raise UserError("--expand-size N appends the N tokens that save most in a text: give --text FILE..., N >= 1")
    backend = source.tokenizer.backend_tokenizer
    content = json.loads(backend.to_str())
    all_of_them = chosen = expand(backend, content, source.vocabulary, target.tokens)
    best = {each.target for each in chosen.appended if each.target is not None}
    found: dict[str, Any] = {
        "missing": sum(each.target is not None for each in chosen.appended) + len(chosen.unreachable)
    }
    if documents is not None:
        counts = usage(rebuilt(source.tokenizer, chosen.content), documents()).counts
        ids = enumerate((each for each in chosen.appended), start=source.vocabulary.size)
        saved = {a.target: counts[i] * max(1, len(a.cut) - 1) for i, a in ids if a.target is not None and counts[i]}
        best = set(sorted(saved, key=lambda token_id: (-saved[token_id], token_id))[:size])
        chosen = expand(backend, content, source.vocabulary, target.tokens, best)
    if not chosen.appended:
        raise UserError("--expand: the source has every token of the target that the text needs; nothing to append")
    tokenizer = rebuilt(source.tokenizer, chosen.content)
    joining = sum(each.target not in best for each in chosen.appended)
    found |= {
        "appended": len(chosen.appended) - joining,
        "joining": joining,
        "unreachable": len(all_of_them.unreachable),
    }
    if documents is not None:
        both = {"before": source.tokenizer, "after": tokenizer}
        found["text"] = {name: usage(each, documents()).report() for name, each in both.items()}
    return Expansion(tokenizer, read_vocabulary(tokenizer), chosen.appended, found)


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
