"""A tokenizer with only the tokens that a text needs, and which cuts that text as before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from saltjax.errors import UserError
from saltjax.vocab.bpe import Merges, read_merges
from saltjax.vocab.renumber import model_pieces, renumbered
from saltjax.vocab.vocabulary import Vocabulary


@dataclass(frozen=True)
class Pruned:
    """content: the new tokenizer.json. kept: the old ids, rising; the new id of one is its place. covered: the share of
    the text's tokens that are kept."""

    content: dict[str, Any]
    kept: list[int]
    covered: float


def prune(
    content: dict[str, Any],
    vocabulary: Vocabulary,
    counts: Mapping[int, int],
    coverage: float = 0.9999,
    size: int | None = None,
) -> Pruned:
    """The most frequent tokens of a text, until they are `coverage` of its tokens or `size` in all.

    Kept whatever their count: special and added tokens (but no placeholders such as [unused3]), what writes single
    bytes, the single characters of the text's tokens, and tokens of the text that these could not write. With a BPE
    model a token keeps the tokens that it is joined from, too; merges go with their tokens. A word of kept tokens is
    cut as before (a merge that it used is there, and no new one is); any other is cut into smaller pieces, and becomes
    UNK only if it was before.

    Raises UserError: a coverage outside (0, 1], a size below what must be kept, a text without tokens.
    """
    if not 0 < coverage <= 1:
        raise UserError(f"--coverage {coverage} must be above 0 and at most 1")
    pieces = model_pieces(content)
    total = sum(counts.values())
    if not total:
        raise UserError("the text has no token of this vocabulary")
    kept = set(_always(content, vocabulary, counts, pieces))
    parts = _Parts(content, pieces)
    for token_id in sorted(kept):
        kept |= parts.of(token_id)
    if size is not None and len(kept) > size:
        raise UserError(
            f"--size {size} is below the {len(kept)} tokens that must stay: special tokens, bytes, and the characters "
            "of the text"
        )
    covered = sum(count for token_id, count in counts.items() if token_id in kept)
    for token_id in sorted(counts, key=lambda each: (-counts[each], each)):
        if size is None and covered >= coverage * total:
            break
        if token_id in kept or token_id not in pieces:
            continue
        more = {token_id, *parts.of(token_id)} - kept
        if size is not None and len(kept) + len(more) > size:
            break
        covered += sum(counts.get(each, 0) for each in more)
        kept |= more
    return Pruned(renumbered(content, sorted(kept)), sorted(kept), covered / total)


class _Parts:
    """The tokens that a BPE token is joined from; none with other models."""

    def __init__(self, content: dict[str, Any], pieces: Mapping[int, str]):
        self.pieces = pieces
        self.ids = {piece: token_id for token_id, piece in pieces.items()}
        self.merges = read_merges(content["model"]) if content["model"]["type"] == "BPE" else None

    def of(self, token_id: int) -> set[int]:
        if self.merges is None or token_id not in self.pieces:
            return set()
        symbols = self.merges.symbols(self.pieces[token_id])
        made = self.merges.run(symbols)[1]
        return {self.ids[part] for part in (*symbols, *made) if part in self.ids}


def _always(
    content: dict[str, Any], vocabulary: Vocabulary, counts: Mapping[int, int], pieces: Mapping[int, str]
) -> Iterator[int]:
    ids = {piece: token_id for token_id, piece in pieces.items()}
    yield from (token.id for token in vocabulary.tokens if token.kind == "special")
    yield from vocabulary.roles.values()
    unused = {token.id for token in vocabulary.tokens if token.kind == "unused"}
    yield from (added["id"] for added in content["added_tokens"] if added["id"] not in unused)
    # Characters of byte-level vocabularies, and <0x41>.
    singles = (t.id for t in vocabulary.tokens if t.kind == "bytes" and t.surface and len(t.surface.text) == 1)
    byte_level = vocabulary.scheme.startswith("byte-level")
    yield from (token_id for token_id, piece in pieces.items() if byte_level and len(piece) == 1)
    yield from singles
    # How WordPiece spells single characters is how a BPE with its prefix does.
    spelling = Merges(
        {}, content["model"].get("continuing_subword_prefix") or "", content["model"].get("end_of_word_suffix") or ""
    )
    for token_id in counts:
        if token_id in pieces and not byte_level:
            letters = spelling.symbols(pieces[token_id])
            yield from (ids[letter] for letter in letters if letter in ids)
            if any(letter not in ids for letter in letters):
                yield token_id
