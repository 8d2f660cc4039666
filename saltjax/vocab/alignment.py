"""Word alignments of a parallel text: which words were translated by which, and how often."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from saltjax.errors import UserError

Links = Counter[tuple[str, str]]


def aligned_words(
    parallel: Iterable[tuple[int, str]],
    alignments: Iterable[tuple[int, str]],
    parallel_path: str | Path,
    alignments_path: str | Path,
) -> Links:
    """(source word, target word) -> number of links, over all lines.

    A line of `parallel` is `source ||| target` (fast_align's format) or has the two sentences in two columns with a tab
    between them, the source LLM's language first; words are what white space separates, as the aligner saw them. The
    same line of `alignments` has their links as `i-j`, counted from 0 (Pharaoh's format, which fast_align and eflomal
    write). Lines may be empty in both files.

    Raises UserError with the line number: files of different length, another format, a link beyond the sentence; no
    link at all.
    """
    links: Links = Counter()
    linked_lines = iter(alignments)
    for number, line in parallel:
        linked = next(linked_lines, (0, None))[1]
        if linked is None:
            raise UserError(f"{alignments_path} has {number - 1} lines, fewer than {parallel_path}: align it again")
        source, target = _sentences(line, f"{parallel_path}, line {number}")
        for link in linked.split():
            left, _, right = link.partition("-")
            if not (left.isdecimal() and right.isdecimal()):
                raise UserError(
                    f"{alignments_path}, line {number}: {link!r} is not a link such as 0-1 (Pharaoh format)"
                )
            i, j = int(left), int(right)
            if i >= len(source) or j >= len(target):
                raise UserError(
                    f"{alignments_path}, line {number}: {link} points beyond sentences of {len(source)} and "
                    f"{len(target)} words; are the languages of {parallel_path} in this order?"
                )
            links[source[i], target[j]] += 1
    if next(linked_lines, None) is not None:
        raise UserError(f"{alignments_path} has more lines than {parallel_path}: align it again")
    if not links:
        raise UserError(f"{alignments_path} holds no link")
    return links


def _sentences(line: str, where: str) -> tuple[list[str], list[str]]:
    sides = line.split(" ||| ") if " ||| " in line else line.split("\t")
    if len(sides) != 2:
        if line.strip():
            raise UserError(f"{where}: two sentences belong there, as `source ||| target` or with one tab between them")
        sides = ["", ""]
    return sides[0].split(), sides[1].split()
