import json

import numpy as np
import pytest
import zoo
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from saltjax.data import encode, tokens
from saltjax.data.corpus import TextFile, documents
from saltjax.data.encode import Counts, begin_of_text
from saltjax.data.tokens import tokenized
from saltjax.errors import UserError


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    lines = [*zoo.sentences("de", 40), "", "x", "ein sehr langes Wort " * 500, "日本語 \u2028 end"]
    path.write_text("\n".join(lines), encoding="utf-8", newline="\n")
    return path


def split(store):
    return [list(d) for d in np.split(np.asarray(store.tokens), store.ends[:-1])]


@pytest.mark.parametrize("kind", zoo.TOKENIZERS)
def test_the_store_holds_what_the_tokenizer_says(tmp_path, text, kind, monkeypatch):
    monkeypatch.setattr(encode, "CALL_BYTES", 500)  # several batches
    tokenizer = zoo.tokenizer(kind)
    store = tokenized([TextFile(text), TextFile(text)], tokenizer, tmp_path / "cache")
    lines = [line for line in text.read_bytes().decode().split("\n") if line] * 2
    expected = [tokenizer(line, add_special_tokens=False).input_ids for line in lines]
    assert split(store) == expected
    flat = [token for ids in expected for token in ids]
    assert store.counts == Counts(
        documents=len(lines),
        tokens=len(flat),
        bytes=sum(len(line.encode()) for line in lines),
        unknown=flat.count(tokenizer.unk_token_id),
        largest_id=max(flat),
    )
    assert (store.counts.unknown > 0) == (kind in ("wordpiece", "t5", "xglm"))  # those that lose 日本語
    assert isinstance(store.tokens, np.memmap) and store.tokens.dtype == np.int32


def test_the_second_time_the_text_is_not_tokenised_again(tmp_path, text, monkeypatch):
    tokenizer = zoo.tokenizer("byte_bpe")
    first = tokenized([TextFile(text)], tokenizer, tmp_path / "cache")
    monkeypatch.setattr(tokens, "_write", lambda *_: pytest.fail("made again"))
    assert split(tokenized([TextFile(text)], tokenizer, tmp_path / "cache")) == split(first)
    copy = tmp_path / "elsewhere.txt"
    copy.write_bytes(text.read_bytes())
    assert tokenized([TextFile(copy)], tokenizer, tmp_path / "cache").directory == first.directory


def test_other_text_layout_tokenizer_or_special_ids_get_another_store(tmp_path, text):
    tokenizer, cache = zoo.tokenizer("byte_bpe"), tmp_path / "cache"
    directories = [tokenized([TextFile(text)], tokenizer, cache).directory]
    directories.append(tokenized([TextFile(text, "blank")], tokenizer, cache).directory)
    directories.append(tokenized([TextFile(text)], zoo.tokenizer("sp_bpe"), cache).directory)
    zoo.tokenizer("byte_bpe").save_pretrained(tmp_path / "tok")
    other = PreTrainedTokenizerFast.from_pretrained(tmp_path / "tok", eos_token="<|eot_id|>")
    directories.append(tokenized([TextFile(text)], other, cache).directory)
    with text.open("a") as file:
        file.write("!")
    directories.append(tokenized([TextFile(text)], tokenizer, cache).directory)
    made = {path for path in cache.iterdir() if path.name != "fingerprints"}
    assert len(set(directories)) == 5 and set(directories) == made


def test_truncation_padding_and_dropout_of_the_tokenizer_do_not_reach_the_store(tmp_path, text):
    plain = zoo.tokenizer("byte_bpe")
    backend = Tokenizer.from_str(plain.backend_tokenizer.to_str())
    backend.enable_truncation(5)
    backend.enable_padding(length=64)
    backend.model.dropout = 0.5
    wild = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=plain.bos_token, eos_token=plain.eos_token)
    assert split(tokenized([TextFile(text)], wild, tmp_path / "a")) == split(
        tokenized([TextFile(text)], plain, tmp_path / "b")
    )


def test_nothing_is_left_when_it_fails(tmp_path, text):
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"\xff\n")
    cache = tmp_path / "cache"
    with pytest.raises(UserError, match=r"bad\.txt is not UTF-8"):
        tokenized([TextFile(text), TextFile(bad)], zoo.tokenizer("byte_bpe"), cache)
    assert not cache.exists()
    with pytest.raises(UserError, match="no text was given"):
        tokenized([], zoo.tokenizer("byte_bpe"), cache)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        tokenized([TextFile(text)], zoo.tokenizer("byte_bpe"), tmp_path / "file")


def test_a_damaged_store_is_refused(tmp_path, text):
    store = tokenized([TextFile(text)], zoo.tokenizer("byte_bpe"), tmp_path)
    file = store.directory / "tokens.int32"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(UserError, match="is damaged; remove it"):
        tokenized([TextFile(text)], zoo.tokenizer("byte_bpe"), tmp_path)


def test_documents_without_tokens_are_documents(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(" \nHallo\n \n", encoding="utf-8")
    store = tokenized([TextFile(path)], zoo.tokenizer("wordpiece"), tmp_path / "cache")
    assert store.counts.documents == 3 and store.ends[0] == 0 and store.ends[1] == store.ends[2]
    path.write_text(" \n", encoding="utf-8")
    assert tokenized([TextFile(path)], zoo.tokenizer("wordpiece"), tmp_path / "cache").counts.tokens == 0


def test_begin_of_text():
    assert begin_of_text(zoo.tokenizer("byte_bpe")) == zoo.tokenizer("byte_bpe").bos_token_id
    assert begin_of_text(zoo.tokenizer("wordpiece")) == zoo.tokenizer("wordpiece").cls_token_id
    backend = zoo.tokenizer("byte_bpe").backend_tokenizer
    only_eos = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end_of_text|>")
    assert begin_of_text(only_eos) == only_eos.eos_token_id
    with pytest.raises(UserError, match="no BOS, CLS or EOS"):
        begin_of_text(PreTrainedTokenizerFast(tokenizer_object=backend))


def test_counts_on_disk_are_readable(tmp_path, text):
    store = tokenized([TextFile(text)], zoo.tokenizer("byte_bpe"), tmp_path)
    assert json.loads((store.directory / "counts.json").read_text())["documents"] == len(list(documents(text)))
