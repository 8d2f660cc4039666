"""From aligned words to aligned tokens: the pieces of a word share its links."""

import math
from collections import defaultdict

from saltjax.transfer.material import Material
from saltjax.transfer.problem import Problem
from saltjax.vocab.alignment import Links
from saltjax.vocab.pieces import word_pieces

Counts = defaultdict[int, defaultdict[int, float]]


def token_links(problem: Problem, material: Material, links: Links, least: int) -> Counts:
    """target id -> source id -> count, from pairs of words that were linked `least` times or more.

    The count c of a pair goes to its tokens where both words are one token. Else each target piece gets c: one half
    evenly from all source pieces, the other from the source pieces that it lies over when both words are drawn at
    one length (Remy et al. 2024, §3.2 and their code, whose rounding to whole numbers is left out).
    """
    pairs = [(source, target, count) for (source, target), count in links.items() if count >= least]
    source_words = list(dict.fromkeys(source for source, _, _ in pairs))
    target_words = list(dict.fromkeys(target for _, target, _ in pairs))
    source_pieces = dict(
        zip(source_words, word_pieces(material.source_tokenizer, problem.source, source_words), strict=True)
    )
    target_pieces = dict(
        zip(target_words, word_pieces(material.target_tokenizer, problem.target, target_words), strict=True)
    )
    counts: Counts = defaultdict(lambda: defaultdict(float))
    for source, target, count in pairs:
        old, new = source_pieces[source], target_pieces[target]
        common = math.lcm(len(old), len(new)) if old and new else 0
        for i, piece in enumerate(new):
            start, end = i * common // len(new), (i + 1) * common // len(new)
            for e in old:
                counts[piece][e] += count / 2 / len(old)
            for position in range(start, end):
                counts[piece][old[position * len(old) // common]] += count / 2 / (end - start)
    return counts
