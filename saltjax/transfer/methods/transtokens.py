"""Trans-Tokenization (Remy et al. 2024, arXiv 2408.04303): the source tokens that a token was translated by."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from saltjax.transfer.counts import counted_mixture
from saltjax.transfer.material import Material, needed
from saltjax.transfer.mixture import Mixture
from saltjax.transfer.problem import Problem, rows_in_use
from saltjax.transfer.tokenlinks import token_links
from saltjax.vocab.pieces import word_pieces
from saltjax.vocab.surface import Surface


def transtokens(problem: Problem, material: Material, *, least: int = 10) -> Mixture:
    """`row = sum_e p(e | u) E[e]`, p the share of u's links that go to e (§3 of the paper); the same for the head.

    Links are those of a word-aligned parallel text, pairs seen `least` times or more (`tokenlinks`). A token that both
    vocabularies have counts one link to its twin, a number one to the first piece of the source's for it. A token
    without links borrows: from the linked tokens that begin with it, and from the longest linked tokens inside it that
    do not lie in one another; each gives its p, counted double where the source token starts a word.

    Nothing is copied but special tokens. Differences from the paper's code: counts are not rounded, borrowed links are
    not borrowed again (there they were, in the vocabulary's order), and a token without any answer falls back to
    N(mean, std) where theirs gets the row of UNK.
    """
    links = needed(material.links, "a word-aligned parallel text: --parallel FILE --alignments FILE")
    allowed = set(rows_in_use(problem).tolist())
    counts = token_links(problem, material, links, least)
    twins = zip(problem.anchors_target.tolist(), problem.anchors_source.tolist(), strict=True)
    for u, e in (*twins, *_numbers(problem, material)):
        counts[u][e] += 1
    shares: dict[int, dict[int, float]] = {}
    for u, found in counts.items():
        if kept := {e: c for e, c in found.items() if e in allowed}:
            shares[u] = {e: c / sum(kept.values()) for e, c in kept.items()}
    spelled = {t.id: _spelling(t.surface) for t in problem.target.tokens if t.kind == "text" and t.surface}
    borrow = _lenders({u: spelled[u] for u in shares if u in spelled})
    starts = {t.id for t in problem.source.tokens if t.surface and t.surface.word_start}
    mixed = []
    for u in problem.new.tolist():
        row = defaultdict(float, shares.get(u, {}))
        for lender in borrow(spelled[u]) if not row and u in spelled else ():
            for e, p in shares[lender].items():
                row[e] += p * (2 if e in starts else 1)
        mixed.append(row)
    return replace(counted_mixture(mixed), mesh=material.mesh)


def _spelling(surface: Surface) -> str:
    return (" " if surface.word_start else "") + surface.text.decode()


def _numbers(problem: Problem, material: Material) -> Iterator[tuple[int, int]]:
    """(u, e) of target tokens that are numbers: e is the first piece with a digit of the source's tokenizer for it."""
    numbers = {t.id: t.surface.text.decode() for t in problem.target.tokens if t.kind == "text" and t.surface}
    numbers = {u: text for u, text in numbers.items() if text.isdecimal()}
    written = {t.id: t.surface.text for t in problem.source.tokens if t.kind == "text" and t.surface}
    pieces = word_pieces(material.source_tokenizer, problem.source, list(numbers.values()))
    for u, ids in zip(numbers, pieces, strict=True):
        yield from ((u, e) for e in [e for e in ids if written.get(e, b"").strip()][:1])


def _lenders(spelled: Mapping[int, str]) -> Callable[[str], list[int]]:
    """text -> tokens of `spelled` that begin with it, and the longest ones inside it, none of them in another."""
    by_text = sorted((text, u) for u, text in spelled.items())
    texts = [text for text, _ in by_text]
    first: dict[str, int] = {}
    for text, u in by_text:
        first.setdefault(text, u)

    def lenders(text: str) -> list[int]:
        extended = []
        for text_, u in by_text[bisect_left(texts, text) :]:
            if not text_.startswith(text):
                break
            extended.append(u)
        inside: list[str] = []
        spans = [text[i : i + size] for size in range(len(text) - 1, 0, -1) for i in range(len(text) - size + 1)]
        for part in dict.fromkeys(spans):
            if part in first and not any(part in longer for longer in inside):
                inside.append(part)
        return [*extended, *(first[part] for part in inside)]

    return lenders
