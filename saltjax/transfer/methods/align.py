"""Align (Yamaguchi et al. 2024, arXiv 2406.11477): what the source's tokenizer makes of a token inside text."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from tokenizers import Encoding

from saltjax.errors import UserError
from saltjax.transfer.counts import counted_mixture
from saltjax.transfer.material import Material, needed
from saltjax.transfer.methods.fvt import fvt
from saltjax.transfer.mixture import Mixture
from saltjax.transfer.problem import Problem
from saltjax.vocab.pieces import bare

Span = tuple[int, int]
BLOCK = 1000  # documents encoded at a time


def align(problem: Problem, material: Material, *, documents: int = 30_000) -> Mixture:
    """`row = sum_t f_t mean(E[t])` over the source's cuts t of the token in the first `documents` of `--text`, f_t
    their relative frequencies (§3.2 of the paper, whose text was 30,000 sentences).

    An occurrence counts where the source's tokens end at both of the token's ends (white space at either end does not
    matter), t being the tokens between. A token without one gets the mean of its pieces (`fvt`), where the paper's code
    has the mean over the tree of its merges. Held-out tokens never count their own source token.

    Raises UserError without text or tokenizers.
    """
    if not material.text:
        raise UserError("the method needs text of the target language: --text FILE...")
    source = bare(needed(material.source_tokenizer, "the source's tokenizer"))
    target = bare(needed(material.target_tokenizer, "the target's tokenizer"))
    hidden = dict(zip(problem.new.tolist(), problem.hidden.tolist(), strict=True))
    cuts: defaultdict[int, Counter[tuple[int, ...]]] = defaultdict(Counter)
    for block in _blocks(material, documents):
        encoded = (tokenizer.encode_batch(block, add_special_tokens=False) for tokenizer in (source, target))
        for text, old, new in zip(block, *encoded, strict=True):
            for token_id, cut in _matched(text, old, new):
                if token_id in hidden and hidden[token_id] not in cut:
                    cuts[token_id][cut] += 1
    means = fvt(problem, material)
    rows = []
    for row, token_id in enumerate(problem.new.tolist()):
        weights: defaultdict[int, float] = defaultdict(float)
        for cut, count in cuts[token_id].items():
            for e in cut:
                weights[e] += count / len(cut)
        if not weights:
            inside = slice(int(means.support[row]))
            for e, weight in zip(means.indices[row, inside].tolist(), means.weights[row, inside].tolist(), strict=True):
                weights[e] += weight
        rows.append(weights)
    return replace(counted_mixture(rows), mesh=material.mesh)


def _blocks(material: Material, documents: int) -> Iterator[list[str]]:
    texts = islice((document for text in material.text for document in text.documents()), documents)
    while block := list(islice(texts, BLOCK)):
        yield block


def _matched(text: str, old: Encoding, new: Encoding) -> Iterator[tuple[int, tuple[int, ...]]]:
    """(target's token, the source's tokens that cover the same characters) of one document."""
    spans = [(_inside(text, span), token_id) for span, token_id in zip(old.offsets, old.ids, strict=True)]
    spans = [(span, token_id) for span, token_id in spans if span[0] < span[1]]
    starts = {span[0]: i for i, (span, _) in reversed(list(enumerate(spans)))}
    ends = {span[1]: i for i, (span, _) in enumerate(spans)}
    for span, token_id in zip(new.offsets, new.ids, strict=True):
        start, end = _inside(text, span)
        if not (start < end and start in starts and end in ends):
            continue
        first, last = starts[start], ends[end]
        # A token may end in the middle of a character, whose span it shares with the next one.
        whole = (first == 0 or spans[first - 1][0][1] <= start) and (
            last == len(spans) - 1 or spans[last + 1][0][0] >= end
        )
        if whole:
            yield token_id, tuple(e for _, e in spans[first : last + 1])


def _inside(text: str, span: Span) -> Span:
    """A span without the white space at its ends: tokenizers disagree to which token it belongs."""
    start, end = span
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end
