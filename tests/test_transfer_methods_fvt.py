"""FVT's pieces against the source tokenizer's own, for every way in which tokenizers write words."""

import numpy as np
import pytest
import zoo

from saltjax.transfer.choose import rule
from saltjax.transfer.folds import held_out
from saltjax.transfer.material import Material
from saltjax.transfer.problem import pose
from saltjax.vocab.vocabulary import read_vocabulary

SOURCES = ("byte_bpe", "gpt2", "sp_bpe", "gemma", "xglm", "t5", "wordpiece")


def spelled(surface):
    return (b" " if surface.word_start else b"") + surface.text


def problem_of(source, target="wordpiece"):
    old, new = zoo.tokenizer(source, "en"), zoo.tokenizer(target, "de")
    vocabularies = read_vocabulary(old), read_vocabulary(new)
    table = np.ones((vocabularies[1].size, 4), np.float32)
    return pose(*vocabularies, table, "none"), Material(source_tokenizer=old)


def pieces(found, i):
    return found.indices[i, : found.support[i]].tolist()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("target", ["wordpiece", "roberta"])
def test_pieces_spell_their_token(source, target):
    problem, material = problem_of(source, target)
    found = rule("fvt", problem, material)
    of_source = {t.id: spelled(t.surface) for t in problem.source.tokens if t.surface}
    of_target = {t.id: spelled(t.surface) for t in problem.target.tokens if t.surface}
    alphabet = set(of_source.values())
    assert len(problem.new) > 100
    for i, token in enumerate(problem.new.tolist()):
        got, want = b"".join(of_source[piece] for piece in pieces(found, i)), of_target[token]
        if got != want:  # only what no source token spells is left out
            lost = want.decode(errors="replace")
            assert any(c.encode() not in alphabet for c in lost), (lost, got)
        np.testing.assert_allclose(found.weights[i, : found.support[i]], 1 / max(1, found.support[i]))
    if source in ("byte_bpe", "gpt2", "sp_bpe", "gemma"):  # bytes spell everything
        assert found.support.all()


@pytest.mark.parametrize("source", ["byte_bpe", "gpt2", "sp_bpe", "gemma"])
def test_pieces_are_the_tokenizers_own(source):
    """A new word after another one: what the source's tokenizer makes of it in running text."""
    problem, material = problem_of(source)
    found = rule("fvt", problem, material)
    tokens = {t.id: t for t in problem.target.tokens}
    first = material.source_tokenizer("a", add_special_tokens=False)["input_ids"]
    seen = 0
    for i, token in enumerate(problem.new.tolist()):
        surface = tokens[token].surface
        text = surface.text.decode()
        if surface.word_start and text.isalpha():
            want = material.source_tokenizer("a " + text, add_special_tokens=False)["input_ids"][len(first) :]
            assert pieces(found, i) == want
            seen += 1
    assert seen > 50


def test_rows_are_means_of_rows():
    problem, material = problem_of("byte_bpe")
    found = rule("fvt", problem, material)
    table = np.random.default_rng(0).normal(size=(problem.source.size, 6)).astype(np.float32)
    want = [table[pieces(found, i)].mean(0) for i in range(len(problem.new))]
    np.testing.assert_allclose(found.rows(table), want, atol=1e-6)


@pytest.mark.parametrize("source", ["byte_bpe", "sp_bpe", "xglm"])
def test_a_held_out_token_is_not_its_own_piece(source):
    problem, material = problem_of(source)
    out = np.arange(0, len(problem.anchors_source), 2)
    held = held_out(problem, out)
    found = rule("fvt", held, material)
    of_source = {t.id: spelled(t.surface) for t in problem.source.tokens if t.surface}
    whole = 0
    for i, hidden in enumerate(held.hidden.tolist()):
        assert hidden not in pieces(found, i)
        whole += b"".join(of_source[piece] for piece in pieces(found, i)) == of_source[hidden]
    assert whole > len(out) / 3  # single characters have no parts
