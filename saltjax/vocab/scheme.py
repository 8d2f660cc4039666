"""How a tokenizer writes its pieces: read from its own JSON, never guessed by counting."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Codec = Literal["byte-level", "spaced", "plain"]
Mark = Literal["space", "prefix", "suffix", "word", "unknown"]


@dataclass(frozen=True)
class Scheme:
    """What the characters of a piece stand for.

    codec: "byte-level" (each character is a byte in GPT-2's alphabet), "spaced" (`space` stands for a space, UTF-8
    otherwise), "plain" (UTF-8). mark, how a word start shows: "space" in front of the piece; "prefix": a piece without
    `affix` starts a word (WordPiece's ##); "suffix": see `open_ended`; "word": every piece is a whole word; "unknown".
    open_ended: with mark "suffix", whether the pieces WITH `affix` are those that go on (haus@@) or those that end a
    word (haus</w>). byte_fallback: <0xNN> is one byte.
    """

    name: str
    codec: Codec
    mark: Mark
    space: str = " "
    affix: str = ""
    open_ended: bool = False
    byte_fallback: bool = False


def read_scheme(tokenizer_json: dict[str, Any]) -> Scheme:
    """The scheme of a `tokenizer.json`: byte-level BPE (GPT-2, Llama 3, Qwen), SentencePiece-like BPE and Unigram
    (Llama 2, Gemma, T5, XGLM), WordPiece, BPE with a continuation prefix or an end-of-word suffix, @@ at the end of
    pieces that go on (nothing in the JSON names this one: it is taken where no other mark is and pieces end in @@).
    """
    model = tokenizer_json["model"]
    steps = [step for part in ("normalizer", "pre_tokenizer", "decoder") for step in _steps(tokenizer_json.get(part))]
    kinds = {step["type"] for step in steps}
    prefix, suffix = model.get("continuing_subword_prefix"), model.get("end_of_word_suffix")
    if "ByteLevel" in kinds:
        if suffix:  # CLIP
            return Scheme("byte-level, end of word", "byte-level", "suffix", affix=suffix)
        return Scheme("byte-level", "byte-level", "space")
    if model["type"] == "WordPiece":
        return Scheme("wordpiece", "plain", "prefix", affix=prefix or "##")
    if prefix:
        return Scheme("continuation prefix", "plain", "prefix", affix=prefix)
    if suffix:
        return Scheme("end of word", "plain", "suffix", affix=suffix)
    space = next(filter(None, map(_space_of, steps)), "▁" if model["type"] == "Unigram" else None)
    if space:
        fallback = bool(model.get("byte_fallback")) or "ByteFallback" in kinds
        return Scheme("sentencepiece", "spaced", "space", space=space, byte_fallback=fallback)
    if any(len(piece) > 2 and piece.endswith("@@") for piece in model["vocab"]):
        return Scheme("@@", "plain", "suffix", affix="@@", open_ended=True)
    if model["type"] == "WordLevel":
        return Scheme("words", "plain", "word")
    return Scheme("unmarked", "plain", "unknown", byte_fallback=bool(model.get("byte_fallback")))


def _steps(part: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    if part is None:
        return
    inside = next((part[key] for key in ("normalizers", "pretokenizers", "decoders") if key in part), None)
    if inside is None:
        yield part
    else:
        for step in inside:
            yield from _steps(step)


def _space_of(step: dict[str, Any]) -> str | None:
    """The character that stands for a space: Metaspace's, or that of a Replace of " " (▁ -> " " when decoding)."""
    if step["type"] == "Metaspace":
        return step["replacement"]
    if step["type"] == "Replace":
        old, new = step["pattern"].get("String"), step["content"]
        if old == " " and len(new) == 1:
            return new
        if new == " " and old and len(old) == 1:
            return old
    return None
