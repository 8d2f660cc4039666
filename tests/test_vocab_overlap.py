"""Overlap of two tokenizers: every defect seen in other tools is a case here."""

import zoo
from test_vocab_surface import byte_level, fast, ids, sentencepiece, unigram, wordpiece
from tokenizers import AddedToken, models, pre_tokenizers

from saltjax.vocab.overlap import match
from saltjax.vocab.vocabulary import read_vocabulary


def shared(source, target, fuzzy=False):
    """Matches as pieces: target piece -> source piece."""
    source, target = read_vocabulary(source), read_vocabulary(target)
    names = [{token.id: token.piece for token in v.tokens} for v in (target, source)]
    return {names[0][t]: names[1][s] for t, s in match(source, target, fuzzy).shared.items()}


def special(source, target):
    source, target = read_vocabulary(source), read_vocabulary(target)
    found = match(source, target)
    names = [{token.id: token.piece for token in v.tokens} for v in (target, source)]
    return {names[0][t]: (names[1][s], found.roles[t]) for t, s in found.special.items()}


def test_wordpiece_words_take_the_word_initial_row():
    """mergekit pairs a BERT word-initial token with the source's word-internal row, and no ## token at all."""
    source = byte_level("haus", "Ġhaus", "kind")
    assert shared(source, wordpiece("haus", "##haus", "kind")) == {"haus": "Ġhaus", "##haus": "haus"}
    assert shared(sentencepiece("haus", "▁haus"), wordpiece("haus", "##haus")) == {"haus": "▁haus", "##haus": "haus"}
    assert shared(wordpiece("haus", "##haus"), source) == {"Ġhaus": "haus", "haus": "##haus"}


def test_fuzzy_never_gives_the_unknown_row():
    """langsfer's fuzzy overlap looks target spellings up in the source: three of these four got the UNK row."""
    source, target = (
        byte_level("<unk>", "Ġhaus", "haus", "Ġcat", unk_token="<unk>"),
        wordpiece("haus", "##haus", "cat", "Cat"),
    )
    assert shared(source, target) == {"haus": "Ġhaus", "##haus": "haus", "cat": "Ġcat"}
    assert shared(source, target, fuzzy=True) == {"haus": "Ġhaus", "##haus": "haus", "cat": "Ġcat", "Cat": "Ġcat"}


def test_special_tokens_by_role_not_spelling():
    """FOCUS and CLP leave [CLS] and [SEP] unmatched; others match <s> and </s> by spelling."""
    llama = sentencepiece("<unk>", "<s>", "</s>", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    bert = wordpiece("[PAD]", "[CLS]", "[SEP]", "[MASK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
                     mask_token="[MASK]", unk_token="[UNK]")  # fmt: skip
    assert special(llama, bert) == {"[CLS]": ("<s>", "bos"), "[SEP]": ("</s>", "eos"), "[UNK]": ("<unk>", "unk")}
    # A target whose <s> ends texts gets the source's end, whatever it is called; a plain word <s> gets nothing.
    swapped = sentencepiece("<s>", "</s>", bos_token="</s>", eos_token="<s>")
    assert special(llama, swapped) == {"</s>": ("<s>", "bos"), "<s>": ("</s>", "eos")}
    assert special(llama, wordpiece("<s>", "[CLS]", cls_token="[CLS]")) == {
        "[CLS]": ("<s>", "bos"),
        "[UNK]": ("<unk>", "unk"),
    }
    assert shared(llama, wordpiece("<s>")) == {}


def test_special_tokens_without_a_role_by_spelling():
    turn = AddedToken("<|turn|>", special=True)
    source, plain = byte_level("a", added=[turn, AddedToken("<|x|>", special=True)]), byte_level("<|turn|>")
    assert special(source, byte_level("a", added=[turn])) == {"<|turn|>": ("<|turn|>", "spelling")}
    assert special(source, plain) == {} and shared(source, plain) == {}  # special matches special only
    # A token with a role is never matched by its spelling.
    assert special(source, byte_level("a", added=[turn], mask_token="<|turn|>")) == {}


def test_bytes_and_line_ends():
    source = sentencepiece("<0x0A>", "<0xC3>", "<0x41>", "A", "<0x42>")
    assert shared(source, byte_level("Ċ", "Ã", "A", "B")) == {
        "Ċ": "<0x0A>", "Ã": "<0xC3>", "A": "A", "B": "<0x42>",
    }  # fmt: skip
    # The other way: a byte token with an ordinary twin is never produced, and must not halve that twin's probability.
    assert shared(byte_level("Ċ", "Ã", "A", "B"), source) == {
        "<0x0A>": "Ċ", "<0xC3>": "Ã", "A": "A", "<0x42>": "B",
    }  # fmt: skip
    assert shared(source, source) == {piece: piece for piece in ("<0x0A>", "<0xC3>", "<0x41>", "A", "<0x42>")}


def test_isolated_characters_match_unmarked_first():
    target = wordpiece("!", "##!", "?", "京")
    assert shared(byte_level("Ġ!", "!", "Ġ?", "äº¬"), target) == {"!": "!", "?": "Ġ?", "京": "äº¬"}
    assert shared(target, byte_level("Ġ!", "!", "?", "Ġ?")) == {"Ġ!": "!", "!": "!", "?": "?", "Ġ?": "?"}
    assert shared(target, target) == {"!": "!", "?": "?", "京": "京"}


def test_pieces_that_go_on_do_not_take_the_place_of_words():
    subword_nmt = fast(models.BPE(ids(["haus@@", "haus"]), []), pre_tokenizers.WhitespaceSplit())
    assert shared(subword_nmt, wordpiece("haus", "##haus")) == {"haus": "haus", "##haus": "haus@@"}
    assert shared(byte_level("Ġhaus", "haus"), subword_nmt) == {"haus": "Ġhaus", "haus@@": "haus"}
    assert shared(byte_level("Ġhaus"), subword_nmt) == {"haus": "Ġhaus", "haus@@": "Ġhaus"}


def test_duplicates_take_the_lowest_id():
    """Two tokens with one surface in the source (an added one and a piece), and two in the target."""
    source = byte_level("Ġx", "x", added=["y", " x"])
    assert shared(source, wordpiece("x")) == {"x": "Ġx"}
    twins = match(read_vocabulary(byte_level("Ġx")), read_vocabulary(source))
    assert twins.shared == {0: 0, 3: 0}


def test_unused_tokens_match_nothing():
    assert shared(unigram("<extra_id_0>", "a"), unigram("<extra_id_0>", "a")) == {"a": "a"}
    assert shared(wordpiece("[unused1]"), wordpiece("[unused1]")) == {}


def test_fuzzy_prefers_the_mark_then_the_case():
    source = byte_level("Haus", "haus", "HAUS", "Ġhaus")
    assert shared(source, wordpiece("Haus")) == {}
    assert shared(source, wordpiece("Haus"), fuzzy=True) == {"Haus": "Haus"}  # only the mark differs
    assert shared(byte_level("haus", "Ġhaus"), wordpiece("Haus"), fuzzy=True) == {"Haus": "Ġhaus"}  # only the case
    assert shared(byte_level("haus"), wordpiece("Haus"), fuzzy=True) == {"Haus": "haus"}
    found = match(read_vocabulary(source), read_vocabulary(wordpiece("Haus", "##haus")), fuzzy=True)
    assert found.fuzzy == {1} and set(found.shared) == {1, 2}
    assert shared(byte_level("Ġ"), sentencepiece("▁▁"), fuzzy=True) == {}  # spaces are not fuzzy
    assert shared(byte_level("Ã"), byte_level("ĠÃ"), fuzzy=True) == {}


def test_a_vocabulary_overlaps_itself_whole():
    for kind in zoo.TOKENIZERS:
        vocabulary = read_vocabulary(zoo.tokenizer(kind, "de"))
        ordinary = {token.id for token in vocabulary.tokens if token.surface is not None}
        found = match(vocabulary, vocabulary)
        assert set(found.shared) == ordinary
        surfaces = {token.id: token.surface for token in vocabulary.tokens}
        assert all(surfaces[s] == surfaces[t] for t, s in found.shared.items())
        assert found.special == {i: i for i in vocabulary.roles.values()} | found.special
        assert set(found.special.values()).isdisjoint(ordinary)


def test_real_overlap_of_a_bert_with_a_byte_level_llm():
    """Trained tokenizers of two languages: every match is the same text at the same place in a word."""
    source = read_vocabulary(zoo.tokenizer("byte_bpe", "en"))
    target = read_vocabulary(zoo.tokenizer("wordpiece", "de"))
    of_source, of_target = ({t.id: t for t in v.tokens} for v in (source, target))
    found = match(source, target)
    assert len(found.shared) > 100
    for target_id, source_id in found.shared.items():
        one, other = of_target[target_id].surface, of_source[source_id].surface
        assert one.text == other.text
        assert one.word_start in (None, other.word_start)
    assert {found.roles[i] for i in found.special} == {"bos", "eos"}
