"""Names of models become directories, their config.json a configuration; every other name is a one-line error."""

import json

import huggingface_hub
import pytest
import zoo

from saltjax.errors import UserError
from saltjax.hub import config as facts
from saltjax.hub.config import read_config
from saltjax.hub.locate import locate, wanted


def test_a_directory_is_itself(tmp_path, monkeypatch):
    path = zoo.llama(tmp_path / "m")
    assert locate(path) == path and locate(str(path)) == path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/m") == path
    monkeypatch.chdir(tmp_path)
    assert locate("m").resolve() == path


def test_names_that_are_no_model(tmp_path):
    with pytest.raises(UserError, match=r"no such directory \(a hub id is written"):
        locate(tmp_path / "missing")
    with pytest.raises(UserError, match="no such directory"):
        locate("missing")
    with pytest.raises(UserError, match=r"not a model directory \(it has no config\.json\)"):
        locate(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        locate(tmp_path / "file")


def test_a_hub_id_without_network(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"owner/name: no such directory, and the hub cannot be reached") as caught:
        locate("owner/name")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="not a valid hub id"):
        locate("owner/na--me..")


def test_a_cached_hub_id_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--owner--name"
    snapshot = repository / "snapshots" / ("0" * 40)
    zoo.llama(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("0" * 40)
    assert locate("owner/name").samefile(snapshot)


def test_weights_are_fetched_once():
    common = ["config.json", "tokenizer.json", "vocab.txt", "tokenizer.model", "chat_template.jinja"]
    other = [
        "README.md",
        ".gitattributes",
        "original/params.json",
        "onnx/model.onnx",
        "tf_model.h5",
        "flax_model.msgpack",
    ]
    single = ["model.safetensors", "pytorch_model.bin", "model.fp16.safetensors"]
    assert wanted([*common, *other, *single]) == sorted([*common, "model.safetensors"])
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    old = ["pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"]
    assert wanted([*common, *other, *shards, *old]) == sorted([*common, *shards])
    assert wanted([*common, *other, *old]) == sorted([*common, *old])


def test_config_facts(tmp_path):
    config = read_config(zoo.llama(tmp_path / "l", tied=True))
    assert facts.vocab_size(config) == 512 and facts.tied(config)
    assert facts.special_ids(config) == {"bos_token_id": 508, "eos_token_id": 509, "pad_token_id": None}
    (tmp_path / "mm").mkdir()
    nested = {"model_type": "llava", "text_config": {"model_type": "llama", "vocab_size": 77, "bos_token_id": 3}}
    (tmp_path / "mm/config.json").write_text(json.dumps(nested))
    config = read_config(tmp_path / "mm")
    assert facts.vocab_size(config) == 77 and facts.special_ids(config)["bos_token_id"] == 3


@pytest.mark.parametrize(
    "content,message",
    [
        ("{", "not valid JSON"),
        ("[]", "names no model_type"),
        ("{}", "names no model_type"),
        ('{"model_type": "no_such_thing"}', "'no_such_thing'"),
        ('{"model_type": "llama", "vocab_size": "many"}', "cannot read it"),
        ('{"model_type": "mine", "auto_map": {"AutoConfig": "a.B"}}', "cannot read it"),
    ],
)
def test_broken_configs_name_the_file(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        read_config(tmp_path)
    assert "config.json" in str(caught.value) and "\n" not in str(caught.value)


def test_config_missing(tmp_path):
    with pytest.raises(UserError, match=r"config\.json: missing"):
        read_config(tmp_path)
