"""Pocket tokenizers: the same in every process, and ordinary tokenizers once saved."""

import subprocess
import sys

import pytest
from transformers import AutoTokenizer

from saltjax.pocket.corpus import documents
from saltjax.pocket.tokenizers import train_byte_bpe, train_wordpiece

FINGERPRINT = """
import hashlib
from saltjax.pocket.corpus import documents
from saltjax.pocket.tokenizers import {name}
tokenizer = {name}(documents("vi")[:150], 1200)
print(len(tokenizer), hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest())
"""


@pytest.mark.parametrize("name", ["train_byte_bpe", "train_wordpiece"])
def test_two_processes_train_the_same_tokenizer(name):
    run = [sys.executable, "-c", FINGERPRINT.format(name=name)]
    processes = [subprocess.Popen(run, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate()[0] for process in processes)
    assert first == second and first.startswith("1200 ")


def test_byte_bpe_puts_only_bos_in_front_and_loses_nothing(tmp_path):
    train_byte_bpe(documents("de")[:100], 600).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("Größe  und 1234 Äpfel.", "苹果 🍏\n\tالماء", documents("vi")[0]):
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id and tokenizer.eos_token_id not in ids
        assert ids.count(tokenizer.bos_token_id) == 1
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert set(tokenizer("a")) == {"input_ids", "attention_mask"}
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|begin_of_text|>", "<|end_of_text|>")
    assert len(tokenizer) == 600


def test_wordpiece_is_a_cased_bert_tokenizer(tmp_path):
    lines = documents("de")[:200]
    train_wordpiece(lines, 1500).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.convert_ids_to_tokens(range(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("Der Hund trinkt Wassertropfen.")["input_ids"])
    assert tokens[0] == "[CLS]" and tokens[-1] == "[SEP]" and tokens[-2] == "."
    assert "Der" in tokens and "der" in tokenizer.get_vocab()
    assert any(token.startswith("##") for token in tokens)
    assert tokenizer.decode(tokenizer("Der Hund trinkt.")["input_ids"], skip_special_tokens=True) == "Der Hund trinkt."
    assert list(tokenizer.get_added_vocab()) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def test_wordpiece_leaves_rare_characters_to_unk():
    tokenizer = train_wordpiece(["ab ab ab ba Ω"] * 1, 50)
    assert tokenizer.tokenize("ab Ω") == ["ab", "[UNK]"]
    assert tokenizer.tokenize("abba") == ["ab", "##b", "##a"] or tokenizer.tokenize("abba") == ["ab", "##ba"]
