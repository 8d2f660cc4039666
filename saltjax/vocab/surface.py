"""What a token stands for in text, whatever the tokenizer: its bytes, and whether it starts a word."""

import re
from typing import Literal, NamedTuple

from saltjax.vocab.scheme import Scheme

Kind = Literal["text", "bytes", "special", "unused"]

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_UNUSED = re.compile(
    r"\[unused\d+\]|<unused_?\d+>|<extra_id_\d+>|<madeupword\d+>|madeupword\d{4}|<reserved_?\d+>"
    r"|<\|reserved_special_token_\d+\|>|<\|(?:dummy|unused)_?\d+\|>|<SPECIAL_\d+>|<pad_?\d+>|\[PAD\d+\]"
)


class Surface(NamedTuple):
    """The bytes of a token without the one space in front of them, and whether that space (a word start) is there.

    `Ġhaus`, `▁haus` and WordPiece's `haus` are all (b"haus", True); `##haus` and byte-level `haus` are (b"haus",
    False); `<0x0A>` and byte-level `Ċ` are (b"\\n", False); `▁` alone is (b"", True), `▁▁` is (b" ", True).
    word_start is None where the tokenizer does not say: characters that it always isolates (WordPiece's punctuation
    and CJK), pieces that only say where a word ends (`haus@@`), user-added tokens of such tokenizers.
    """

    text: bytes
    word_start: bool | None


class Token(NamedTuple):
    """kind: "text"; "bytes": a byte-fallback token (<0x41>) or a part of a UTF-8 character; "special": control tokens;
    "unused": tokens that no text gives ([unused12], <extra_id_0>, an empty piece). Only "text" and "bytes" have a
    surface."""

    id: int
    piece: str
    surface: Surface | None
    kind: Kind


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable character for each byte: itself where Latin-1 prints, else the next free one from U+0100."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(hidden)}


_BYTE_OF = _byte_alphabet()
_CHAR_OF = {byte: char for char, byte in _BYTE_OF.items()}


def read_piece(piece: str, scheme: Scheme) -> tuple[Surface | None, Kind]:
    """Surface and kind of a piece of the model's vocabulary (not of an added token, see `read_added`)."""
    if not piece or is_unused(piece):
        return None, "unused"
    byte = _BYTE_TOKEN.fullmatch(piece) if scheme.byte_fallback else None
    if byte:
        return _leading_space(bytes([int(byte[1], 16)])), "bytes"
    match scheme.mark:
        case "space":
            surface = _leading_space(_text(piece, scheme))
        case "prefix":
            goes_on = piece.startswith(scheme.affix) and piece != scheme.affix
            surface = Surface(_text(piece.removeprefix(scheme.affix) if goes_on else piece, scheme), not goes_on)
        case "suffix":
            # Such a piece says whether a word ends with it. One that ends it is a whole word more often than the last
            # part of one (ours), so it counts as a word start; one that goes on may be the first part or a middle one.
            with_suffix = piece.endswith(scheme.affix) and piece != scheme.affix
            ends = with_suffix != scheme.open_ended
            text = _text(piece.removesuffix(scheme.affix) if with_suffix else piece, scheme)
            surface = Surface(text, True if ends else None)
        case "word":
            surface = Surface(_text(piece, scheme), True)
        case "unknown":
            surface = Surface(_text(piece, scheme), None)
    return surface, "text" if _decodes(surface.text) else "bytes"


def write_piece(surface: Surface, scheme: Scheme) -> str | None:
    """The piece of a surface, as `read_piece` reads it; an unknown word start counts as none. None where the bytes are
    no text and the scheme writes text, or where a piece does not say how a word starts."""
    text, start = surface
    if scheme.codec == "byte-level" and scheme.mark == "space":
        return "".join(_CHAR_OF[byte] for byte in (b" " * bool(start) + text))
    if not _decodes(text) or scheme.mark not in ("space", "prefix"):
        return None
    if scheme.mark == "prefix":
        return ("" if start else scheme.affix) + text.decode()
    return (scheme.space if start else "") + text.decode().replace(" ", scheme.space)


def read_added(content: str, scheme: Scheme, eats_space: bool) -> tuple[Surface | None, Kind]:
    """Surface and kind of an added token that is not special. Its content is literal text, not a coded piece; it may
    stand anywhere, so its word start is known only from a space in it, in a tokenizer that keeps spaces, and not when
    it swallows the space before it (`lstrip`)."""
    if not content or is_unused(content):
        return None, "unused"
    text = content.replace(scheme.space, " ") if scheme.codec == "spaced" else content
    if scheme.mark == "space" and (text.startswith(" ") or not eats_space):
        return _leading_space(text.encode()), "text"
    return Surface(text.strip(" ").encode(), None), "text"


def is_unused(piece: str) -> bool:
    """Whether a piece is spelled as a placeholder that was never trained ([unused12], <extra_id_0>, ...)."""
    return _UNUSED.fullmatch(piece) is not None


def _text(piece: str, scheme: Scheme) -> bytes:
    if scheme.codec == "spaced":
        return piece.replace(scheme.space, " ").encode()
    if scheme.codec == "byte-level" and all(char in _BYTE_OF for char in piece):
        return bytes(_BYTE_OF[char] for char in piece)
    return piece.encode()


def _leading_space(text: bytes) -> Surface:
    return Surface(text.removeprefix(b" "), text.startswith(b" "))


def _decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
