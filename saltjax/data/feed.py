"""What a run is fed with: from the entries of a configuration to token stores, windows, shares and their account."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from saltjax.data.corpus import JsonLines, Source
from saltjax.data.examples import ExampleFile
from saltjax.data.examplewindows import ExampleWindows, example_windows
from saltjax.data.folder import sources_of
from saltjax.data.mixture import Corpus, shares
from saltjax.data.pipeline import Seen
from saltjax.data.template import Template
from saltjax.data.tfds import TfdsSplit
from saltjax.data.tokens import Progress, tokenized
from saltjax.data.windows import Windows, packed
from saltjax.errors import UserError


class Gathered(NamedTuple):
    """The sources of one corpus of a run, found but not read."""

    name: str
    where: str
    weight: float | None
    sources: list[Any]  # `Source`s, or `ExampleFile`s
    left_out: list[str]  # files of other splits


class Fed(NamedTuple):
    """One corpus of a run, ready."""

    name: str
    share: float  # of the tokens seen
    files: int
    left_out: list[str]
    windows: Windows


def gather(groups: Sequence[Sequence[Corpus]]) -> list[Gathered]:
    """The entries of each group as one corpus, named and weighted by the first.

    Raises UserError for what can be known without reading: see `folder.sources_of`, `mixture.shares`, `TfdsSplit`.
    """
    shares([group[0].weight for group in groups], [1] * len(groups))
    found = []
    for name, group in zip(_names([group[0].title for group in groups]), groups, strict=True):
        sources: list[Source] = []
        left_out: list[str] = []
        for entry in group:
            if entry.tfds:
                sources.append(TfdsSplit(entry.tfds, entry.split, entry.field))
            else:
                more = sources_of(entry.path, entry.field, entry.layout, entry.split)
                sources += more.sources
                left_out += more.left_out
        for source in sources:
            source.stamp()
        found.append(Gathered(name, group[0].path or group[0].tfds, group[0].weight, sources, left_out))
    return found


def with_examples(gathered: Sequence[Gathered]) -> list[Gathered]:
    """The same files, read as examples. UserError: a source that is no JSON lines."""

    def examples(source: Source) -> Any:
        if not isinstance(source, JsonLines):
            raise UserError(f"{getattr(source, 'path', source)}: examples are JSON lines, .jsonl or .jsonl.zst")
        return ExampleFile(source.path)

    return [one._replace(sources=[examples(source) for source in one.sources]) for one in gathered]


def feed(
    gathered: Sequence[Gathered],
    tokenizer: PreTrainedTokenizerBase,
    seq_len: int,
    cache_dir: Path,
    progress: Callable[[str, Progress], None] | None = None,
    template: Template | None = None,
) -> list[Fed]:
    """The corpora tokenised and packed, with their shares; with a `template` they are examples (`with_examples`).
    `progress` is called with the corpus's name.

    Raises UserError: see `tokens.tokenized`, `windows.packed`, `example_windows`; a corpus of which the tokenizer makes
    no token.
    """
    made: list[Windows] = []
    for one in gathered:
        tell = None if progress is None else (lambda now, name=one.name: progress(name, now))
        store = tokenized(one.sources, tokenizer, cache_dir, tell, template)
        made.append(example_windows(store, seq_len, one.where) if template else packed(store, seq_len))
        if not len(made[-1]):
            raise UserError(f"{one.where}: the tokenizer gives no token for any document of it")
    parts = shares([one.weight for one in gathered], [windows.tokens for windows in made])
    return [
        Fed(one.name, share, len(one.sources), one.left_out, windows)
        for one, share, windows in zip(gathered, parts, made, strict=True)
    ]


def account(fed: Sequence[Fed], seen: Sequence[Seen]) -> dict[str, Any]:
    """The corpora together (documents, tokens, bytes, unknown, largest_id, windows, padding), and `sources`: the same
    of each, with its name, files, share, and what was seen of it (tokens_seen, epochs); of examples answer_tokens (the
    targets) and too_long, too."""
    counts = [one.windows.store.counts for one in fed]
    places = sum(len(one.windows) * one.windows.seq_len for one in fed)
    padding = sum(one.windows.waste * len(one.windows) * one.windows.seq_len for one in fed)
    total = sum(counts[1:], start=counts[0])
    return {
        **dataclasses.asdict(total),
        "windows": sum(len(one.windows) for one in fed),
        "padding": padding / places,
        "sources": [
            {
                "name": one.name,
                "share": one.share,
                "files": one.files,
                "left_out": one.left_out,
                **dataclasses.asdict(one.windows.store.counts),
                "windows": len(one.windows),
                "padding": one.windows.waste,
                **_of_examples(one.windows),
                "tokens_seen": part.tokens,
                "epochs": part.epochs,
            }
            for one, part in zip(fed, seen, strict=True)
        ],
    }


def described(fed: Sequence[Fed]) -> Iterator[str]:
    """Lines for people: what was found, how it packs, what its share is."""
    for one in fed:
        counts, windows = one.windows.store.counts, one.windows
        if isinstance(windows, ExampleWindows):
            what = (
                f"{counts.documents:,} examples, {counts.tokens:,} tokens, {windows.answer_tokens:,} of them to learn"
            )
        else:
            what = (
                f"{counts.documents:,} documents, {counts.tokens:,} tokens of {counts.bytes / counts.tokens:.2f} bytes"
            )
        yield (
            f"{one.name}: {what}, {counts.unknown:,} unknown; "
            f"{len(windows):,} windows of {windows.seq_len}, {windows.waste:.1%} padding"
            + (f"; {one.share:.1%} of the tokens" if len(fed) > 1 else "")
        )
        if isinstance(windows, ExampleWindows) and windows.too_long:
            yield f"{one.name}: {windows.too_long:,} examples are longer than seq_len={windows.seq_len} and left out"
        if one.left_out:
            yield f"{one.name}: {len(one.left_out)} files of other splits left out, such as {one.left_out[0]}"


def _of_examples(windows: Windows) -> dict[str, int]:
    if not isinstance(windows, ExampleWindows):
        return {}
    return {"answer_tokens": windows.answer_tokens, "too_long": windows.too_long}


def _names(titles: Sequence[str]) -> list[str]:
    """Titles that repeat get a number."""
    return [
        f"{title}-{titles[: i + 1].count(title)}" if title in titles[:i] else title for i, title in enumerate(titles)
    ]
