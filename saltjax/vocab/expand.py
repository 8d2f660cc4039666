"""A tokenizer with more tokens, which cuts every text that has none of them as before."""

import copy
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from saltjax.errors import UserError
from saltjax.vocab.bpe import Merges, read_merges
from saltjax.vocab.scheme import read_scheme
from saltjax.vocab.surface import Token, write_piece
from saltjax.vocab.unigram import Unigram
from saltjax.vocab.vocabulary import Vocabulary

Cut = tuple[int, ...]


class Appended(NamedTuple):
    """A new token: its piece, the target's token that it stands for (None: the target has no such token, others are
    joined through it), and the source's tokens that its text was cut into."""

    piece: str
    target: int | None
    cut: Cut


Wanted = dict[str, int]  # piece of the source's spelling -> the target's token


def missing(backend: Tokenizer, content: dict[str, Any], tokens: Iterable[Token]) -> tuple[Wanted, list[int]]:
    """(the text tokens of a target vocabulary that a source tokenizer lacks, spelled as its pieces; those of them that
    no text would be cut into, because it changes their text or parts it before its model sees it)."""
    vocab, scheme = content["model"]["vocab"], read_scheme(content)
    known = {piece for piece, _ in vocab} if isinstance(vocab, list) else set(vocab)
    wanted: Wanted = {}
    unreachable = []
    for token in tokens:
        piece = write_piece(token.surface, scheme) if token.surface is not None else None
        if token.surface is None or token.kind != "text" or piece is None or piece in known or piece in wanted:
            continue
        if _reachable(backend, " " * bool(token.surface.word_start) + token.surface.text.decode()):
            wanted[piece] = token.id
        else:
            unreachable.append(token.id)
    return wanted, unreachable


def expand(
    content: dict[str, Any], source: Vocabulary, wanted: Wanted, chosen: Iterable[str] | None = None
) -> tuple[dict[str, Any], list[Appended]]:
    """(tokenizer.json, what is new) of a source tokenizer with the pieces `chosen` of `wanted`, or all, appended.

    - BPE: new merges after all of the source's. A new token is cut by the merges so far and its pieces are joined, two
      at a time, by merges of the lowest rank; what they pass through becomes a token too. So the source's cut comes
      first, new merges join its pieces, and a new token alone is always cut into itself. Characters that the source
      lacks become tokens. (Added tokens would be found inside words, and would part them.)
    - Unigram: a new piece with the score of the source's rarest piece, or 0.1 above its best cut if that is higher.
    - WordPiece: a new piece; the longest match takes it.

    In all three a text that contains no new token is cut as before: every merge, piece or match that is new writes
    one. Special and added tokens stay (they become pieces of the model, which keeps their ids).

    Raises UserError for other tokenizers: words only, or pieces that say where a word ends.
    """
    content = copy.deepcopy(content)
    model, scheme = content["model"], read_scheme(content)
    vocab, chosen = model["vocab"], list(wanted if chosen is None else chosen)
    added = {each["id"]: each["content"] for each in content["added_tokens"]}
    match model["type"]:
        case "BPE" if scheme.mark == "space":
            appended = _bpe(model, chosen, wanted)
            vocab |= {name: token_id for token_id, name in added.items()}
            vocab |= {each.piece: source.size + n for n, each in enumerate(appended)}
        case "Unigram":
            pieces = Unigram.of(model)
            appended = [Appended(piece, wanted[piece], pieces.cut(piece)) for piece in chosen]
            holes = range(len(vocab), source.size)
            vocab += [[added.get(hole, f"[unused{hole}]"), pieces.lowest - 100] for hole in holes]
            vocab += [[each.piece, max(pieces.lowest, pieces.score(each.piece) + 0.1)] for each in appended]
        case "WordPiece":
            appended = [Appended(piece, wanted[piece], _longest(model, piece)) for piece in chosen]
            vocab |= {name: token_id for token_id, name in added.items()}
            vocab |= {each.piece: source.size + n for n, each in enumerate(appended)}
        case kind:
            raise UserError(f"--expand: the tokenizer of SOURCE ({kind}, {scheme.name}) cannot be expanded; replace it")
    return content, appended


def _reachable(backend: Tokenizer, text: str) -> bool:
    """Whether the tokenizer leaves a text in one piece and as it is written before its model cuts it."""
    changed = backend.normalizer.normalize_str(text) if backend.normalizer else text
    if changed.replace("▁", " ").strip() != text.strip():
        return False
    return backend.pre_tokenizer is None or len(backend.pre_tokenizer.pre_tokenize_str(changed)) == 1


def _bpe(model: dict[str, Any], chosen: list[str], wanted: Wanted) -> list[Appended]:
    merges = read_merges(model)
    cuts: dict[str, Cut] = {piece: (token_id,) for piece, token_id in model["vocab"].items()}
    appended: dict[str, Appended] = {}

    def append(piece: str, cut: Cut) -> None:
        cuts[piece] = cut
        appended[piece] = Appended(piece, wanted.get(piece), cut)

    def cut_of(symbol: str) -> Cut:
        names = (f"<0x{byte:02X}>" for byte in symbol.encode())
        found = [model["vocab"].get(name) for name in names]
        return tuple(token_id for token_id in found if token_id is not None) if None not in found else ()

    # Short ones first: longer ones are then joined from them.
    for piece in sorted(chosen, key=lambda piece: (len(piece), wanted[piece])):
        for symbol in piece:
            if symbol not in cuts:
                append(symbol, cut_of(symbol))
        left = merges.run(piece)[0]
        while len(left) > 1 and (pair := _pair(merges, left, cuts, appended, wanted)):
            joined = merges.joined(*pair)
            if joined not in appended:
                append(joined, cuts[pair[0]] + cuts[pair[1]])
            merges.rank[pair] = len(merges.rank)
            model["merges"].append(list(pair))
            left = merges.run(piece)[0]
    return list(appended.values())


def _pair(
    merges: Merges, left: list[str], cuts: dict[str, Cut], appended: dict[str, Appended], wanted: Wanted
) -> tuple[str, str] | None:
    """The next two pieces to join: into a token that is wanted anyway, else into any that the source has not, for a
    merge into one of the source's own tokens would change how its texts are cut."""
    written = ((pair, merges.joined(*pair)) for pair in pairwise(left))
    pairs = [pair for pair, joined in written if joined in appended or joined not in cuts]
    return next((pair for pair in pairs if merges.joined(*pair) in wanted), pairs[0] if pairs else None)


def _longest(model: dict[str, Any], piece: str) -> Cut:
    """What WordPiece makes of a piece; nothing where it cannot write it."""
    prefix = model["continuing_subword_prefix"]
    goes_on = piece.startswith(prefix) and piece != prefix
    text, found, start = piece.removeprefix(prefix) if goes_on else piece, [], 0
    while start < len(text):
        before = prefix if start or goes_on else ""
        ends = (end for end in range(len(text), start, -1) if before + text[start:end] in model["vocab"])
        end = next(ends, None)
        if end is None:
            return ()
        found.append(model["vocab"][before + text[start:end]])
        start = end
    return tuple(found)
