"""Bilingual dictionaries: read, and turned into matches of tokens that their spelling does not show."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from saltjax.errors import UserError
from saltjax.vocab.vocabulary import Vocabulary

Pairs = tuple[tuple[str, str], ...]


def read_dictionary(lines: Iterable[tuple[int, str]], path: str | Path) -> Pairs:
    """Pairs (source word, target word) of a dictionary's numbered lines, in their order, each once.

    A line with a tab has its words or phrases in the first two columns; any other has two words with white space
    between them (MUSE's format). The source LLM's language comes first. Empty lines are skipped.

    Raises UserError: lines of another form (the first three by number), no pair.
    """
    pairs: dict[tuple[str, str], None] = {}
    wrong = []
    for number, line in lines:
        fields = line.split("\t")[:2] if "\t" in line else line.split()
        words = [field.strip() for field in fields]
        if len(words) == 2 and all(words):
            pairs[words[0], words[1]] = None
        elif line.strip():
            wrong.append(number)
    if wrong:
        raise UserError(
            f"{path}: {len(wrong)} lines are not two columns (line {', '.join(map(str, wrong[:3]))}): "
            "a word of the source's language, a tab or a space, a word of the target's"
        )
    if not pairs:
        raise UserError(f"{path}: the dictionary is empty")
    return tuple(pairs)


def translations(source: Vocabulary, target: Vocabulary, pairs: Pairs) -> dict[int, int]:
    """target id -> source id of tokens that are whole words of which one translates the other (ours).

    A target token is a word of the dictionary when it starts a word (or its tokenizer does not say) and its text, or
    else its text in lower case, is the pair's. Its source token starts a word and is spelled as the pair's other word,
    or else so in lower case. Of several translations that are tokens, the first of the file.
    """
    ids: dict[str, int] = {}
    for token_id, text in _words(source):
        ids.setdefault(text, token_id)
    found: dict[str, int] = {}
    for source_word, target_word in pairs:
        source_id = ids.get(source_word, ids.get(source_word.lower()))
        if source_id is not None:
            found.setdefault(target_word, source_id)
    folded: dict[str, int] = {}
    for target_word, source_id in found.items():
        folded.setdefault(target_word.lower(), source_id)
    candidates = ((token_id, found.get(text, folded.get(text.lower()))) for token_id, text in _words(target))
    return {token_id: source_id for token_id, source_id in candidates if source_id is not None}


def _words(vocabulary: Vocabulary) -> Iterator[tuple[int, str]]:
    for token in vocabulary.tokens:
        if token.kind == "text" and token.surface is not None and token.surface.word_start is not False:
            yield token.id, token.surface.text.decode()
