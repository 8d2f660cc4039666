"""Surfaces, kinds and roles of every tokenizer family, on explicit little vocabularies."""

import pytest
import zoo
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from saltjax.errors import UserError
from saltjax.vocab.roles import causal_roles, match_roles
from saltjax.vocab.surface import Surface
from saltjax.vocab.vocabulary import normalizer_of, read_vocabulary, word


def fast(model, pre_tokenizer=None, decoder=None, normalizer=None, added=(), **roles):
    backend = Tokenizer(model)
    if pre_tokenizer is not None:
        backend.pre_tokenizer = pre_tokenizer
    if decoder is not None:
        backend.decoder = decoder
    if normalizer is not None:
        backend.normalizer = normalizer
    backend.add_tokens(list(added))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **roles)


def ids(pieces):
    return {piece: i for i, piece in enumerate(pieces)}


def byte_level(*pieces, **more):
    return fast(models.BPE(ids(pieces), []), pre_tokenizers.ByteLevel(), decoders.ByteLevel(), **more)


def sentencepiece(*pieces, **more):
    """As Llama 2's tokenizer.json has it: no pre-tokenizer, the space shows in the normalizer and decoder only."""
    steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    model = models.BPE(ids(pieces), [], byte_fallback=True)
    decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return fast(model, None, decoder, normalizers.Sequence(steps), **more)


def unigram(*pieces, **more):
    model = models.Unigram([("<unk>", 0.0), *((piece, -1.0) for piece in pieces)], 0, False)
    return fast(model, pre_tokenizers.Metaspace(), decoders.Metaspace(), **more)


def wordpiece(*pieces, lowercase=False, prefix="##", **more):
    model = models.WordPiece(ids(["[UNK]", *pieces]), unk_token="[UNK]", continuing_subword_prefix=prefix)
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    return fast(model, pre_tokenizers.BertPreTokenizer(), decoders.WordPiece(prefix), normalizer, **more)


def surfaces(tokenizer):
    return {token.piece: token.surface for token in read_vocabulary(tokenizer).tokens}


def kinds(tokenizer):
    return {token.piece: token.kind for token in read_vocabulary(tokenizer).tokens}


@pytest.mark.parametrize(
    "tokenizer, starts, inside",
    [
        (byte_level("Ġhaus", "haus"), "Ġhaus", "haus"),
        (sentencepiece("▁haus", "haus"), "▁haus", "haus"),
        (unigram("▁haus", "haus"), "▁haus", "haus"),
        (wordpiece("haus", "##haus"), "haus", "##haus"),
        (wordpiece("haus", "~haus", prefix="~"), "haus", "~haus"),  # the prefix is read, not assumed
        (
            fast(models.BPE(ids(["haus", "@@haus"]), [], continuing_subword_prefix="@@"), pre_tokenizers.Whitespace()),
            "haus",
            "@@haus",
        ),
    ],
)
def test_one_surface_whatever_the_tokenizer(tokenizer, starts, inside):
    found = surfaces(tokenizer)
    assert found[starts] == Surface(b"haus", True)
    assert found[inside] == Surface(b"haus", False)


def test_scheme_is_read_from_the_json_not_counted():
    # One ▁ piece among many without, and pieces that look like another scheme's.
    assert surfaces(unigram("a", "b", "##c", "Ġd", "▁e"))["##c"] == Surface(b"##c", False)
    assert surfaces(unigram("Ġd"))["Ġd"] == Surface("Ġd".encode(), False)
    assert surfaces(byte_level("##c", "âĸģ", "Ġ"))["##c"] == Surface(b"##c", False)
    assert surfaces(byte_level("âĸģhaus"))["âĸģhaus"] == Surface("▁haus".encode(), False)
    assert surfaces(wordpiece("▁haus"))["▁haus"] == Surface("▁haus".encode(), True)


def test_spaces_and_line_ends_are_one_surface():
    byte, piece = (
        surfaces(byte_level("Ġ", "ĠĠ", "Ċ", "ĊĊ", "ĠĊ")),
        surfaces(sentencepiece("▁", "▁▁", "<0x0A>", "<0x20>")),
    )
    assert byte["Ġ"] == piece["▁"] == piece["<0x20>"] == Surface(b"", True)
    assert byte["ĠĠ"] == piece["▁▁"] == Surface(b" ", True)
    assert byte["Ċ"] == piece["<0x0A>"] == Surface(b"\n", False)
    assert byte["ĊĊ"] == Surface(b"\n\n", False)
    assert byte["ĠĊ"] == Surface(b"\n", True)


def test_parts_of_characters_are_bytes():
    tokenizer = byte_level("Ã", "Ã¤", "ĠÃ", "Ġh", "ãĤ")
    assert surfaces(tokenizer)["Ã"] == surfaces(sentencepiece("<0xC3>"))["<0xC3>"] == Surface(b"\xc3", False)
    assert surfaces(tokenizer)["Ã¤"] == Surface("ä".encode(), False)
    assert kinds(tokenizer) == {"Ã": "bytes", "Ã¤": "text", "ĠÃ": "bytes", "Ġh": "text", "ãĤ": "bytes"}
    assert kinds(sentencepiece("<0x41>", "A")) == {"<0x41>": "bytes", "A": "text"}
    # Without byte fallback it is six characters of text.
    assert surfaces(unigram("<0x41>"))["<0x41>"] == Surface(b"<0x41>", False)


def test_the_byte_alphabet_covers_every_byte_as_the_library_writes_it():
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    found = surfaces(byte_level(*pieces))
    assert sorted(surface.text for surface in found.values()) == sorted(
        b"" if byte == 0x20 else bytes([byte]) for byte in range(256)
    )
    text = "".join(chr(c) for c in range(33, 0x250)) + "漢字 \n"
    (written,) = (piece for piece, _ in pre_tokenizers.ByteLevel(False, use_regex=False).pre_tokenize_str(text))
    assert surfaces(byte_level(written))[written] == Surface(text.encode(), False)


def test_wordpiece_isolates_punctuation_and_cjk():
    tokenizer = wordpiece("!", "##!", "«", "京", "##京", "a", "##a", "ä", "##ä", "5", "##5", "...")
    found, kind = surfaces(tokenizer), kinds(tokenizer)
    assert found["!"] == Surface(b"!", None)
    assert found["«"] == Surface("«".encode(), None)
    assert found["京"] == Surface("京".encode(), None)
    assert kind["##!"] == kind["##京"] == "unused"  # no text gives them
    assert found["##!"] is None
    assert found["a"] == Surface(b"a", True) and found["##a"] == Surface(b"a", False)
    assert found["ä"] == Surface("ä".encode(), True) and found["##ä"] == Surface("ä".encode(), False)
    assert found["5"] == Surface(b"5", True)
    # Asked of the tokenizer: one that keeps CJK together does not isolate it.
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer(handle_chinese_chars=False)
    assert surfaces(tokenizer)["京"] == Surface("京".encode(), True)


def test_pieces_that_say_where_a_word_ends():
    openai_gpt = fast(models.BPE(ids(["haus", "haus</w>"]), [], end_of_word_suffix="</w>"), pre_tokenizers.Whitespace())
    assert surfaces(openai_gpt) == {"haus": Surface(b"haus", None), "haus</w>": Surface(b"haus", True)}
    clip = fast(models.BPE(ids(["Ã¤", "Ã¤</w>"]), [], end_of_word_suffix="</w>"), pre_tokenizers.ByteLevel())
    assert surfaces(clip) == {"Ã¤": Surface("ä".encode(), None), "Ã¤</w>": Surface("ä".encode(), True)}
    subword_nmt = fast(models.BPE(ids(["haus", "haus@@", "@@"]), []), pre_tokenizers.WhitespaceSplit())
    assert surfaces(subword_nmt) == {
        "haus": Surface(b"haus", True),
        "haus@@": Surface(b"haus", None),
        "@@": Surface(b"@@", True),
    }


def test_words_and_unmarked_pieces():
    assert surfaces(fast(models.WordLevel(ids(["haus"]), "[UNK]"), pre_tokenizers.Whitespace())) == {
        "haus": Surface(b"haus", True)
    }
    assert surfaces(fast(models.BPE(ids(["haus"]), []), pre_tokenizers.Whitespace())) == {
        "haus": Surface(b"haus", None)
    }


def test_added_tokens():
    tokenizer = byte_level(
        "Ġx", "é", added=["é!", "  ", AddedToken("<m>", lstrip=True), AddedToken("<s>", special=True)]
    )
    found = read_vocabulary(tokenizer)
    by_piece = {token.piece: token for token in found.tokens}
    assert by_piece["é"].surface == Surface(b"\xe9", False)  # a coded piece
    assert by_piece["é!"].surface == Surface("é!".encode(), False)  # literal text
    assert by_piece["  "].surface == Surface(b" ", True)
    assert by_piece["<m>"].surface == Surface(b"<m>", None)
    assert by_piece["<s>"].kind == "special" and by_piece["<s>"].surface is None
    assert found.size == 6 and [token.id for token in found.tokens] == list(range(6))
    assert surfaces(wordpiece("a", added=["Corona"]))["Corona"] == Surface(b"Corona", None)
    assert surfaces(sentencepiece("▁a", added=["▁▁▁"]))["▁▁▁"] == Surface(b"  ", True)


def test_special_by_role_and_unused_by_spelling():
    tokenizer = wordpiece("[PAD]", "[unused7]", "[CLS]", "haus", "<s>", pad_token="[PAD]", cls_token="[CLS]")
    assert kinds(tokenizer) == {
        "[UNK]": "special", "[PAD]": "special", "[unused7]": "unused", "[CLS]": "special", "haus": "text",
        "<s>": "text",
    }  # fmt: skip
    assert read_vocabulary(tokenizer).roles == {"pad": 1, "unk": 0, "bos": 3}
    for spelling in ("<unused12>", "<extra_id_0>", "<madeupword3>", "<|reserved_special_token_17|>"):
        assert kinds(sentencepiece(spelling))[spelling] == "unused"
    assert kinds(sentencepiece("unused", "<p>")) == {"unused": "text", "<p>": "text"}
    # A placeholder that was given a role is that role's token.
    assert kinds(sentencepiece("<unused12>", bos_token="<unused12>"))["<unused12>"] == "special"


def test_ids_with_holes_and_uncased():
    tokenizer = fast(models.WordLevel({"a": 0, "b": 7}, "a"))
    assert [token.id for token in read_vocabulary(tokenizer).tokens] == [0, 7]
    assert read_vocabulary(tokenizer).size == 8
    uncased = wordpiece("haus", "##haus", lowercase=True)
    assert surfaces(uncased)["haus"] == Surface(b"haus", True)
    assert normalizer_of(uncased)("Äpfel HAUS") == "apfel haus"
    assert normalizer_of(byte_level("a")) is None
    assert normalizer_of(sentencepiece("a"))("Das Haus").strip() == "Das Haus"


def test_word_to_look_up():
    for tokenizer in (byte_level("Ġhaus", "haus", "Ã"), wordpiece("haus", "##haus", "[CLS]"), sentencepiece("▁haus")):
        found = {token.piece: word(token) for token in read_vocabulary(tokenizer).tokens}
        assert {found[piece] for piece in found if "haus" in piece} == {"haus"}
        assert found.get("Ã") is None
    for piece, tokenizer in (("Ċ", byte_level("Ċ")), ("▁", sentencepiece("▁")), ("<0x41>", sentencepiece("<0x41>"))):
        assert [word(token) for token in read_vocabulary(tokenizer).tokens] == [None], piece
    assert {word(t) for t in read_vocabulary(wordpiece("[unused1]", pad_token="[PAD]")).tokens} == {None}


@pytest.mark.parametrize("kind", sorted(zoo.TOKENIZERS))
def test_surfaces_spell_the_text(kind):
    """The surfaces of an encoded text, joined with their spaces, are the text again: an oracle for the reading."""
    tokenizer = zoo.tokenizer(kind, "de")
    tokens = {token.id: token for token in read_vocabulary(tokenizer).tokens}
    for text in zoo.sentences("de", 60):
        read = [tokens[i] for i in tokenizer.encode(text, add_special_tokens=False)]
        if any(token.surface is None for token in read):  # an unknown character
            continue
        joined = b"".join(b" " * (t.surface.word_start is True) + t.surface.text for t in read).decode()
        if kind == "wordpiece":  # isolated punctuation has no spacing to spell
            assert joined.replace(" ", "") == text.replace(" ", "")
            assert len(joined.split()) <= len(text.split())
        else:
            assert joined.removeprefix(" ") == text
    assert len(tokens) == len(tokenizer)


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("gpt2", {"bos": 511, "eos": 511}),
        ("byte_bpe", {"bos": 508, "eos": 509}),
        ("wordpiece", {"bos": 6, "eos": 7, "pad": 0}),
        ("t5", {"bos": 1, "eos": 1, "pad": 0}),
        ("xglm", {"bos": 0, "eos": 2, "pad": 1}),
        ("roberta", {"bos": 0, "eos": 2, "pad": 1}),
    ],
)
def test_causal_roles(kind, expected):
    roles = causal_roles(read_vocabulary(zoo.tokenizer(kind)).roles)
    assert (roles.bos, roles.eos, roles.pad) == (expected["bos"], expected["eos"], expected.get("pad"))
    assert bool(roles.notes) == (kind == "t5")


def test_no_ends_is_the_users_mistake():
    with pytest.raises(UserError, match="bos_token or eos_token"):
        causal_roles({"unk": 0})
    assert causal_roles({"bos": 3}).eos == 3


def test_roles_match_with_fallbacks():
    bert = {"bos": 101, "eos": 102, "pad": 0, "unk": 100, "mask": 103}
    llama = {"bos": 1, "eos": 2, "unk": 0}
    assert match_roles(llama, bert) == {101: (1, "bos"), 102: (2, "eos"), 100: (0, "unk")}
    gpt2 = {"bos": 50256, "eos": 50256, "unk": 50256}
    assert match_roles(gpt2, bert) == {101: (50256, "bos"), 102: (50256, "eos")}  # no unk: it is the end of text
    assert match_roles(llama, gpt2) == {50256: (1, "bos")}  # one token for both is the BOS
    assert match_roles(llama, {"eos": 1, "pad": 0}) == {1: (1, "bos")}  # T5 begins texts with it
    qwen = {"eos": 7, "pad": 7}
    assert match_roles(qwen, bert) == {101: (7, "bos"), 102: (7, "eos")}  # pad: no second copy of the end of text
    assert match_roles({}, bert) == {}
