"""A tokenizer's vocabulary as tokens with surfaces."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from saltjax.vocab.roles import read_roles
from saltjax.vocab.scheme import Scheme, read_scheme
from saltjax.vocab.surface import Surface, Token, is_unused, read_added, read_piece


@dataclass(frozen=True)
class Vocabulary:
    """tokens: sorted by id; ids may have holes (padded tables have rows beyond `size` too). size: highest id + 1.
    roles: role -> id (bos eos pad unk mask). fingerprint: sha256 of the tokenizer's JSON."""

    tokens: tuple[Token, ...]
    size: int
    roles: dict[str, int]
    scheme: str
    fingerprint: str


def read_vocabulary(tokenizer: Any) -> Vocabulary:
    """Every token of a fast Hugging Face tokenizer (one with `.backend_tokenizer`).

    Rules. A token is special when it was added as special or has a role; unused when its spelling says so, special or
    not. An added token's content is literal text, and it stands before a model's piece of the same id; when two
    pieces claim one id, the one that the tokenizer itself decodes to holds it. In a WordPiece tokenizer that isolates
    punctuation or CJK (asked of the tokenizer itself, character by character), an isolated character has
    word_start None, and its ## form is unused, for no text can give it.
    """
    backend = tokenizer.backend_tokenizer
    content = backend.to_str()
    data = json.loads(content)
    scheme = read_scheme(data)
    model = data["model"]
    pieces = model["vocab"]
    if isinstance(pieces, dict):
        pairs = sorted((token_id, piece) for piece, token_id in pieces.items())
    else:  # Unigram: a list of (piece, log probability)
        pairs = [(token_id, piece) for token_id, (piece, _) in enumerate(pieces)]
    tokens: dict[int, Token] = {}
    for token_id, piece in pairs:
        if token_id not in tokens or piece == backend.id_to_token(token_id):
            tokens[token_id] = Token(token_id, piece, *read_piece(piece, scheme))

    roles = read_roles(tokenizer)
    if "unk" not in roles:
        unk = model.get("unk_id") if "unk_id" in model else backend.token_to_id(model.get("unk_token") or "")
        roles |= {} if unk is None else {"unk": unk}
    for added in data["added_tokens"]:
        token_id, text = added["id"], added["content"]
        if is_unused(text):
            tokens[token_id] = Token(token_id, text, None, "unused")
        elif added["special"]:
            tokens[token_id] = Token(token_id, text, None, "special")
        else:
            tokens[token_id] = Token(token_id, text, *read_added(text, scheme, eats_space=added["lstrip"]))
    for token_id in roles.values():
        if token_id in tokens:
            tokens[token_id] = tokens[token_id]._replace(surface=None, kind="special")
    if scheme.mark == "prefix":
        tokens = {token_id: _isolated(token, scheme, backend) for token_id, token in tokens.items()}
    ordered = tuple(tokens[token_id] for token_id in sorted(tokens))
    fingerprint = hashlib.sha256(content.encode()).hexdigest()
    return Vocabulary(ordered, ordered[-1].id + 1 if ordered else 0, roles, scheme.name, fingerprint)


def word(token: Token) -> str | None:
    """The text to look up in an auxiliary space: the surface without its word-start mark, so that `##haus`, `Ġhaus` and
    `haus` all give "haus". None for special, unused and byte tokens, and where nothing but white space is left."""
    if token.kind != "text" or token.surface is None:
        return None
    return token.surface.text.decode().strip() or None


def normalizer_of(tokenizer: Any) -> Callable[[str], str] | None:
    """What the tokenizer does to text before it cuts it (lower-casing, stripping accents, Unicode forms), for text that
    its words shall be found in; None if it does nothing of the kind. The marks it writes for spaces are undone."""
    backend = tokenizer.backend_tokenizer
    scheme = read_scheme(json.loads(backend.to_str()))
    normalizer = backend.normalizer
    if normalizer is None or scheme.codec == "byte-level":  # theirs are Unicode forms at most
        return None
    if scheme.codec == "spaced":
        return lambda text: normalizer.normalize_str(text).replace(scheme.space, " ")
    return normalizer.normalize_str


def _isolated(token: Token, scheme: Scheme, backend: Any) -> Token:
    if token.kind != "text" or token.surface is None or token.surface.word_start is None:
        return token
    char = token.surface.text.decode()
    # ASCII letters and digits are never isolated: most single characters need not be asked about.
    if len(char) != 1 or (char.isascii() and char.isalnum()) or not _stands_alone(char, backend):
        return token
    if token.surface.word_start:
        return token._replace(surface=Surface(token.surface.text, None))
    return token._replace(surface=None, kind="unused")


def _stands_alone(char: str, backend: Any) -> bool:
    """Whether the tokenizer cuts words on both sides of a character."""
    text = f"a{char}a"
    if backend.normalizer is not None:
        text = backend.normalizer.normalize_str(text)
    if backend.pre_tokenizer is None:
        return False
    return [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(text)] == ["a", char, "a"]
