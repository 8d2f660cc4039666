"""The first thing that a newcomer runs, shortened; and the weights that it takes."""

import json

import numpy as np
import pytest
from harness import stopped_once
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from saltjax import api
from saltjax.api._quickstart import SETTINGS
from saltjax.errors import UserError
from saltjax.hub.tensors import open_checkpoint
from saltjax.pocket.corpus import documents
from saltjax.pocket.llm import write_llama
from saltjax.pocket.models import LANGUAGES, pocket_llm, pocket_plm
from saltjax.pocket.tokenizers import train_byte_bpe

SHORT = (*SETTINGS, "steps=4", "eval_every=2")


def test_quickstart(tmp_path, monkeypatch):
    monkeypatch.setattr("saltjax.api._quickstart.SETTINGS", SHORT)
    record = api.quickstart("vi", tmp_path / "out")
    assert {"language", "seconds", "out", "runs", "source_bits_per_byte", "picture"} <= set(record)
    assert [run["init"] for run in record["runs"]] == ["salt", "gaussian"]
    for run in record["runs"]:
        steps, values = zip(*run["bits_per_byte"], strict=True)
        assert steps == (0, 2, 4) and all(1 < value < 8 for value in values)
    assert record["tokens_per_word"]["target"] < record["tokens_per_word"]["source"]
    assert record["max_abs_logit_difference"] < 1e-3
    assert (tmp_path / "out" / "quickstart.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "out" / "quickstart.json").read_text())["seconds"] == record["seconds"]
    model = AutoModelForCausalLM.from_pretrained(record["model"])
    assert model.config.vocab_size == 4096 == len(AutoTokenizer.from_pretrained(record["model"]))

    with pytest.raises(UserError, match="exists already"):
        api.quickstart("vi", tmp_path / "out")
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="not made by the quickstart"):
        api.quickstart("vi", tmp_path / "mine", overwrite=True)
    with pytest.raises(UserError, match="de, ar, vi"):
        api.quickstart("fr", tmp_path / "other")


def test_a_quickstart_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("saltjax.api._quickstart.SETTINGS", (*SETTINGS, "trainable=nothing.like.this"))
    with pytest.raises(UserError):
        api.quickstart("de", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_quickstart_says_so_and_leaves_nothing(tmp_path, monkeypatch, saltjax):
    monkeypatch.setattr("saltjax.api._quickstart.SETTINGS", SHORT)
    scored = tmp_path / "out" / "runs" / "gaussian" / "metrics.jsonl"
    with stopped_once(lambda: scored.exists() and scored.stat().st_size > 0):
        status, stdout, stderr = saltjax("quickstart", "--language", "vi", "--out", tmp_path / "out")
    assert (status, stdout) == (130, "") and "begins anew" in stderr and "Traceback" not in stderr
    assert not (tmp_path / "out").exists()


def test_pocket_weights_are_ordinary_small_models():
    directories = [pocket_llm(), *map(pocket_plm, LANGUAGES)]
    sizes = [file.stat().st_size for directory in directories for file in directory.rglob("*") if file.is_file()]
    assert sum(sizes) < 12e6
    for directory in directories:
        assert {entry.dtype for entry in open_checkpoint(directory).entries.values()} == {"BF16"}
    assert AutoModelForCausalLM.from_pretrained(pocket_llm()).config.vocab_size == 4096


@pytest.mark.parametrize("language, word, month", [("de", "Januar", "März"), ("vi", "ba", "hai")])
def test_pocket_plms_know_words(language, word, month):
    """Nearest rows of a word in the embedding hold its kind: their neighbours mean something."""
    tokenizer = AutoTokenizer.from_pretrained(pocket_plm(language))
    table = (
        AutoModelForMaskedLM.from_pretrained(pocket_plm(language))
        .get_input_embeddings()
        .weight.detach()
        .float()
        .numpy()
    )
    table = table - table.mean(axis=0)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    nearest = np.argsort(-table @ table[tokenizer.convert_tokens_to_ids(word)])[1:12]
    assert month in tokenizer.convert_ids_to_tokens(nearest.tolist())


def test_a_fresh_llama_is_what_transformers_takes_it_for(tmp_path):
    tokenizer = train_byte_bpe(documents("en")[:50], 300)
    sizes = {"hidden_size": 48, "layers": 2, "heads": 4, "kv_heads": 2, "positions": 64}
    for name in ("one", "two"):
        write_llama(tmp_path / name, tokenizer, **sizes, dtype="bfloat16")
    assert (tmp_path / "one/model.safetensors").read_bytes() == (tmp_path / "two/model.safetensors").read_bytes()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    assert model.config.intermediate_size == 128 and str(model.dtype) == "torch.bfloat16"
    assert model.lm_head.weight is model.get_input_embeddings().weight
