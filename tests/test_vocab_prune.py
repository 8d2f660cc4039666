"""Vocabularies reduced to a text: every algorithm, whole directories, and the command."""

import json

import numpy as np
import pytest
import zoo
import zoo_plms
from transformers import AutoConfig, AutoModel, AutoTokenizer

from saltjax import api
from saltjax.cli import main
from saltjax.errors import UserError
from saltjax.hub.tensors import open_checkpoint
from saltjax.transfer.surgery import open_patient
from saltjax.vocab.bpe import Merges

torch = pytest.importorskip("torch")
SENTENCES = zoo.sentences("de")[:60]
KINDS = ("bert", "bert uncased", "roberta", "xlm-r", "albert", "t5", "bart", "gpt2", "modernbert", "deberta v3")


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    path = tmp_path_factory.mktemp("prune")
    (path / "de.txt").write_text("\n".join(SENTENCES) + "\n", encoding="utf-8")
    return path


def plm(room, name):
    if not (room / name).exists():
        zoo_plms.make(name, room / name)
    return room / name


def spelled(directory, texts, specials=True):
    tokenizer = AutoTokenizer.from_pretrained(directory)
    return [
        tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=specials)["input_ids"]) for text in texts
    ]


@pytest.mark.parametrize("name", KINDS)
def test_all_that_the_text_needs_and_no_more(room, tmp_path, name):
    source, out = plm(room, name), tmp_path / "small"
    record = api.vocab_prune(source, out, text=[room / "de.txt"], coverage=1.0)
    before, after = open_patient(source), open_patient(out)
    assert record["tokens"] == {"before": len(before.vocabulary.tokens), "after": after.tables.rows}
    assert after.tables.rows < len(before.vocabulary.tokens)
    assert record["coverage"] == 1 and record["round_trip"] == {"documents": 60, "changed": 0}
    assert record["text"]["before"] == record["text"]["after"]
    # The text is cut as before, special tokens included.
    assert spelled(out, SENTENCES) == spelled(source, SENTENCES)
    assert after.vocabulary.size == after.tables.rows == len(AutoTokenizer.from_pretrained(out))
    # Each token has its row and its part of the bias; all else is as it was.
    old_id = {token.piece: token.id for token in before.vocabulary.tokens}
    kept = [old_id[token.piece] for token in after.vocabulary.tokens]
    assert kept == sorted(kept)
    tables = {*after.tables.inputs, *after.tables.heads}
    for key in before.checkpoint.entries:
        old, new = before.checkpoint.read(key), after.checkpoint.read(key)
        if key in tables:
            old = old[kept]
        elif key in after.tables.biases:
            old = old[..., kept]
        np.testing.assert_array_equal(new, old, err_msg=key)
    config = AutoConfig.from_pretrained(out)
    assert config.vocab_size == after.tables.rows
    for role in ("bos", "eos", "pad"):
        old = getattr(before.config, f"{role}_token_id", None)
        new = getattr(config, f"{role}_token_id", None)
        if old is not None and old in kept:
            assert kept[new] == old
    assert {role: kept[i] for role, i in after.vocabulary.roles.items()} == before.vocabulary.roles


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-r", "t5"])
def test_rare_tokens_give_way_to_smaller_ones(room, tmp_path, name):
    source, out = plm(room, name), tmp_path / "small"
    record = api.vocab_prune(source, out, text=[room / "de.txt"], coverage=0.8)
    whole = api.vocab_prune(source, tmp_path / "whole", text=[room / "de.txt"], coverage=1.0)
    assert 0.8 <= record["coverage"] < 0.95
    assert record["tokens"]["after"] < 0.9 * whole["tokens"]["after"]
    before, after = record["text"]["before"], record["text"]["after"]
    assert after["fertility"] > before["fertility"] and after["unknown"] == before["unknown"]
    assert record["round_trip"]["changed"] == 0
    # Words whose tokens are all kept are cut as before.
    words = sorted({word for sentence in SENTENCES for word in sentence.split()})
    vocabulary = set(AutoTokenizer.from_pretrained(out).get_vocab())
    old, new = spelled(source, words, False), spelled(out, words, False)
    untouched = [i for i, pieces in enumerate(old) if set(pieces) <= vocabulary]
    assert 0 < len(untouched) < len(words)
    assert [new[i] for i in untouched] == [old[i] for i in untouched]


def test_a_size_is_kept_to_and_the_result_is_a_target_and_a_model(room, tmp_path, monkeypatch, capsys):
    source, out = plm(room, "bert"), tmp_path / "small"
    command = ["saltjax", "vocab", "prune", source, out, "--text", room / "de.txt", "--size", 250, "--json"]
    monkeypatch.setattr("sys.argv", [str(part) for part in command])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code in (0, None)
    record = json.loads(capsys.readouterr().out)
    assert record["tokens"]["after"] == 250 == open_patient(out).tables.rows
    assert json.loads((out / "prune.json").read_text())["coverage"] == record["coverage"] < 1
    tokenizer, model = AutoTokenizer.from_pretrained(out), AutoModel.from_pretrained(out)
    assert torch.isfinite(model(**tokenizer(SENTENCES[0], return_tensors="pt")).last_hidden_state).all()
    zoo.llama(tmp_path / "llm")
    moved = api.transfer(tmp_path / "llm", out, tmp_path / "new", neighbours="plm")
    assert moved["tokens"]["total"] == 250
    assert open_checkpoint(tmp_path / "new").entries["lm_head.weight"].shape == (250, 32)


def test_what_cannot_be_done_is_said(room, tmp_path):
    source = plm(room, "bert")
    for choice, message in (
        ({"size": 20}, "--size 20 is below the"),
        ({"coverage": 0.0}, "--coverage 0.0"),
        ({"text": []}, "--text"),
        ({"text": [room / "none.txt"]}, "does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            api.vocab_prune(source, tmp_path / "out", **{"text": [room / "de.txt"], **choice})
        assert not (tmp_path / "out").exists()


def test_merges_spell_and_join_as_the_library_does():
    plain = Merges({("a", "b"): 0, ("ab", "c"): 1, ("b", "c"): 2})
    assert plain.run(list("abcbc")) == (["abc", "bc"], ["ab", "abc", "bc"])
    prefixed = Merges({("h", "##a"): 0}, prefix="##")
    assert prefixed.symbols("haus") == ["h", "##a", "##u", "##s"] and prefixed.symbols("##au") == ["##a", "##u"]
    assert prefixed.run(["h", "##a", "##u"]) == (["ha", "##u"], ["ha"])
    assert Merges({}, suffix="</w>").symbols("haus</w>") == ["h", "a", "u", "s</w>"]
