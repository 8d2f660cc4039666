"""A tokenizer of any kind, written for a causal language model: BOS in front, nothing behind."""

import json

import pytest
import zoo
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

from saltjax.errors import UserError
from saltjax.hub.tokenizer import load_tokenizer, write_causal_tokenizer

TEXTS = ("Wir wohnen in einem Haus.", "der Fluss, die Stadt", "Ende", "", " Raum  davor und zwei")
ROLES = {  # kind: (bos, eos, pad)
    "byte_bpe": ("<|begin_of_text|>", "<|end_of_text|>", None),
    "gpt2": ("<|endoftext|>", "<|endoftext|>", None),
    "roberta": ("<s>", "</s>", "<pad>"),
    "sp_bpe": ("<s>", "</s>", None),
    "gemma": ("<bos>", "<eos>", "<pad>"),
    "t5": ("<pad>", "</s>", "<pad>"),
    "xglm": ("<s>", "</s>", "<pad>"),
    "wordpiece": ("[CLS]", "[SEP]", "[PAD]"),
}


def written(path, tokenizer, kind, config=None, **settings):
    """The result directory's tokenizer as AutoTokenizer gives it."""
    path.mkdir(exist_ok=True)
    config = config or AutoConfig.for_model("llama", vocab_size=len(tokenizer))
    config.save_pretrained(path)
    bos, eos, pad = (piece and tokenizer.convert_tokens_to_ids(piece) for piece in ROLES[kind])
    write_causal_tokenizer(tokenizer, path, bos, eos, pad, settings.pop("chat_template", None), **settings)
    return AutoTokenizer.from_pretrained(path)


@pytest.mark.parametrize("model_type", ["llama", "gemma", "gpt2", "qwen2", "mistral", "xglm"])
@pytest.mark.parametrize("kind", ROLES)
def test_bos_and_tokens_and_nothing_else(tmp_path, kind, model_type):
    tokenizer = zoo.tokenizer(kind, "de")
    config = AutoConfig.for_model(model_type, vocab_size=len(tokenizer))
    result = written(tmp_path, tokenizer, kind, config)
    bos, eos, pad = ROLES[kind]
    assert (result.bos_token, result.eos_token, result.pad_token) == (bos, eos, pad)
    assert result.unk_token == tokenizer.unk_token and len(result) == len(tokenizer)
    assert result.get_vocab() == tokenizer.get_vocab()
    for text in TEXTS:
        plain = tokenizer(text, add_special_tokens=False)["input_ids"]
        encoded = result(text)
        assert set(encoded) == {"input_ids", "attention_mask"}
        assert encoded["input_ids"] == [result.bos_token_id, *plain]
        assert result(text, add_special_tokens=False)["input_ids"] == plain
        assert result.decode(encoded["input_ids"], skip_special_tokens=True) == tokenizer.decode(
            plain, skip_special_tokens=True
        )
    assert result("Ende", "Ende")["input_ids"] == [result.bos_token_id, *plain_ids(tokenizer, "Ende") * 2]


def plain_ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_decoding_wordpiece_joins_pieces(tmp_path):
    result = written(tmp_path, zoo.tokenizer("wordpiece", "de"), "wordpiece")
    ids = result("Wir wohnen in einem kleinen Haus.")["input_ids"]
    assert any(piece.startswith("##") for piece in result.convert_ids_to_tokens(ids))
    assert result.decode(ids, skip_special_tokens=True) == "Wir wohnen in einem kleinen Haus."


def test_batches_are_padded_on_the_left(tmp_path):
    result = written(tmp_path, zoo.tokenizer("wordpiece", "de"), "wordpiece", max_length=77)
    batch = result(["Haus", "Wir wohnen in einem Haus."], padding=True)
    assert batch["input_ids"][0][0] == result.pad_token_id and batch["attention_mask"][0][0] == 0
    assert result.model_max_length == 77
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["model_input_names"] == ["input_ids", "attention_mask"]  # transformers 4 adds token_type_ids


def test_saved_padding_and_truncation_are_dropped(tmp_path):
    tokenizer = zoo.bert(tmp_path / "bert")
    path = tmp_path / "bert/tokenizer.json"
    content = json.loads(path.read_text())
    content["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                          "pad_type_id": 0, "pad_token": "[PAD]"}  # fmt: skip
    path.write_text(json.dumps(content))
    tokenizer = load_tokenizer(tmp_path / "bert")
    result = written(tmp_path / "out", tokenizer, "wordpiece")
    assert len(result("Haus Haus Haus Haus Haus Haus")["input_ids"]) > 9 > len(result("a")["input_ids"])
    content = json.loads((tmp_path / "out/tokenizer.json").read_text())
    assert content["truncation"] is None and content["padding"] is None


def test_specials_are_skipped_and_not_split(tmp_path):
    result = written(tmp_path, zoo.tokenizer("wordpiece", "de"), "wordpiece")
    ids = result("Haus[SEP]Haus [MASK]", add_special_tokens=False)["input_ids"]
    assert result.sep_token is None and result.eos_token_id in ids
    assert "[" not in result.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("kind", ["byte_bpe", "gpt2", "roberta"])
def test_byte_level_offsets_stay(tmp_path, kind):
    tokenizer = zoo.tokenizer(kind, "de")
    result = written(tmp_path, tokenizer, kind)
    theirs = tokenizer("das Haus", add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    assert result("das Haus", return_offsets_mapping=True)["offset_mapping"] == [(0, 0), *theirs]


def test_written_twice_is_the_same(tmp_path):
    tokenizer = zoo.tokenizer("wordpiece", "de")
    first = written(tmp_path / "a", tokenizer, "wordpiece")
    written(tmp_path / "b", first, "wordpiece")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_model_type_that_forces_its_own_class(tmp_path):
    """transformers puts Qwen2Tokenizer on qwen2, whose words are byte-level BPE: not on ours."""
    config = AutoConfig.for_model("qwen2", vocab_size=400)
    result = written(tmp_path, zoo.tokenizer("wordpiece", "de"), "wordpiece", config)
    assert type(result) is PreTrainedTokenizerFast
    trusted = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=True)
    assert trusted("Haus und Hof")["input_ids"] == result("Haus und Hof")["input_ids"]
    written(tmp_path / "llama", zoo.tokenizer("wordpiece", "de"), "wordpiece")
    assert not (tmp_path / "llama/tokenizer_as_written.py").exists()


def test_chat_template(tmp_path):
    result = written(tmp_path, zoo.tokenizer("wordpiece", "de"), "wordpiece", chat_template=zoo.CHAT)
    text = result.apply_chat_template([{"role": "user", "content": "Haus"}], tokenize=False)
    assert text == "[CLS]user: Haus\n"


def test_ids_that_do_not_exist(tmp_path):
    with pytest.raises(ValueError, match="eos_id: the tokenizer has no token 9999"):
        write_causal_tokenizer(zoo.tokenizer("gpt2"), tmp_path, 0, 9999, None, None)
    with pytest.raises(ValueError, match=r"has no config\.json yet"):
        write_causal_tokenizer(zoo.tokenizer("gpt2"), tmp_path, 0, 0, None, None)


@pytest.mark.parametrize("name", ["llama", "gemma", "gpt2", "xglm", "bert", "roberta", "t5"])
def test_load(tmp_path, name):
    tokenizer = load_tokenizer(getattr(zoo, name)(tmp_path))
    assert tokenizer.backend_tokenizer.get_vocab_size() == len(tokenizer)


def test_no_tokenizer_is_said_not_invented(tmp_path):
    path = zoo.llama(tmp_path)
    (path / "tokenizer.json").rename(path / "away")
    with pytest.raises(UserError, match=r"no fast tokenizer \(no tokenizer\.json\)"):
        load_tokenizer(path)
    (path / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "BPE"')
    with pytest.raises(UserError, match="no fast tokenizer can be had"):
        load_tokenizer(path)


def test_a_tokenizer_that_runs_in_python_only(tmp_path):
    AutoConfig.for_model("biogpt", vocab_size=10).save_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_text('{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a</w>": 4}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "CTRLTokenizer"}')
    AutoConfig.for_model("ctrl", vocab_size=10).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no fast tokenizer"):
        load_tokenizer(tmp_path)


def test_a_vocabulary_file_alone_will_do(tmp_path):
    zoo.bert(tmp_path)
    pieces = load_tokenizer(tmp_path).get_vocab()
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in sorted(pieces, key=pieces.get)))
    assert load_tokenizer(tmp_path).get_vocab() == pieces
