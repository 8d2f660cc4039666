"""Finding the tensors with a row per token, in real models of many architectures."""

import dataclasses

import numpy as np
import pytest
import transformers
import zoo
from safetensors.numpy import load_file, save_file

from saltjax.errors import UserError
from saltjax.hub.config import read_config
from saltjax.hub.tensors import open_checkpoint
from saltjax.hub.vocabtables import VocabTables, find_vocab_tables

torch = pytest.importorskip("torch")


def tables(directory):
    return find_vocab_tables(open_checkpoint(directory), read_config(directory))


EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
BERT = "embeddings.word_embeddings.weight"


def test_the_zoo(tmp_path):
    assert tables(zoo.llama(tmp_path / "untied")) == VocabTables((EMBED,), (HEAD,), (), 512, False)
    assert tables(zoo.llama(tmp_path / "tied", tied=True)) == VocabTables((EMBED,), (), (), 512, True)
    assert tables(zoo.llama(tmp_path / "shards", shard="20KB")) == VocabTables((EMBED,), (HEAD,), (), 512, False)
    assert tables(zoo.gemma(tmp_path / "gemma")) == VocabTables((EMBED,), (), (), 640, True)
    assert tables(zoo.gpt2(tmp_path / "gpt2")) == VocabTables(("transformer.wte.weight",), (), (), 512, True)
    assert tables(zoo.xglm(tmp_path / "xglm")) == VocabTables((EMBED,), (), (), 400, True)
    assert tables(zoo.bert(tmp_path / "bert")) == VocabTables(
        (f"bert.{BERT}",), (), ("cls.predictions.bias",), 400, True
    )
    assert tables(zoo.roberta(tmp_path / "r")) == VocabTables((f"roberta.{BERT}",), (), ("lm_head.bias",), 512, True)
    assert tables(zoo.t5(tmp_path / "t5")).inputs == ("shared.weight",)


SMALL = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 32, "vocab_size": 300,
}  # fmt: skip
BERTS = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
OTHERS = [
    # (model class, config class, settings, inputs, heads, biases, tied)
    ("MistralForCausalLM", "MistralConfig", SMALL, [EMBED], [HEAD], [], False),
    ("Qwen2ForCausalLM", "Qwen2Config", {**SMALL, "tie_word_embeddings": True}, [EMBED], [], [], True),
    ("Olmo2ForCausalLM", "Olmo2Config", SMALL, [EMBED], [HEAD], [], False),
    ("PhiForCausalLM", "PhiConfig", SMALL, [EMBED], [HEAD], ["lm_head.bias"], False),
    ("GPTNeoXForCausalLM", "GPTNeoXConfig", SMALL, ["gpt_neox.embed_in.weight"], ["embed_out.weight"], [], False),
    ("GPTJForCausalLM", "GPTJConfig", {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32, "rotary_dim": 4,
     "vocab_size": 300}, ["transformer.wte.weight"], [HEAD], ["lm_head.bias"], False),
    ("OPTForCausalLM", "OPTConfig", {"hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 1,
     "num_attention_heads": 2, "max_position_embeddings": 32, "vocab_size": 300, "word_embed_proj_dim": 16},
     ["model.decoder.embed_tokens.weight"], [], [], True),
    ("BloomForCausalLM", "BloomConfig", {"hidden_size": 16, "n_layer": 1, "n_head": 2, "vocab_size": 300},
     ["transformer.word_embeddings.weight"], [], [], True),
    ("FalconForCausalLM", "FalconConfig", {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
     "vocab_size": 300}, ["transformer.word_embeddings.weight"], [], [], True),
    ("MambaForCausalLM", "MambaConfig", {"hidden_size": 16, "num_hidden_layers": 1, "vocab_size": 300,
     "state_size": 4}, ["backbone.embeddings.weight"], [], [], True),
    ("BertModel", "BertConfig", {**BERTS, "vocab_size": 300}, [BERT], [], [], True),
    ("ElectraForMaskedLM", "ElectraConfig", {**BERTS, "embedding_size": 8, "vocab_size": 300}, [f"electra.{BERT}"], [],
     ["generator_lm_head.bias"], True),
    ("DistilBertForMaskedLM", "DistilBertConfig", {"dim": 16, "hidden_dim": 24, "n_layers": 1, "n_heads": 2,
     "vocab_size": 300}, [f"distilbert.{BERT}"], [], ["vocab_projector.bias"], True),
    ("CamembertForMaskedLM", "CamembertConfig", {**BERTS, "vocab_size": 300}, [f"roberta.{BERT}"], [],
     ["lm_head.bias"], True),
    ("DebertaV2ForMaskedLM", "DebertaV2Config", {**BERTS, "vocab_size": 300}, [f"deberta.{BERT}"], None, None, True),
    ("AlbertForMaskedLM", "AlbertConfig", {**BERTS, "embedding_size": 8, "vocab_size": 300}, [f"albert.{BERT}"], [],
     None, True),
    ("ModernBertForMaskedLM", "ModernBertConfig", {**BERTS, "vocab_size": 300, "pad_token_id": 0, "bos_token_id": 1,
     "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}, ["model.embeddings.tok_embeddings.weight"], [],
     ["decoder.bias"], True),
    ("XLMRobertaForMaskedLM", "XLMRobertaConfig", {**BERTS, "vocab_size": 300}, [f"roberta.{BERT}"], [],
     ["lm_head.bias"], True),
    ("BartForConditionalGeneration", "BartConfig", {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
     "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
     "vocab_size": 300}, ["model.shared.weight"], [], ["final_logits_bias"], True),
]  # fmt: skip


@pytest.mark.parametrize("model,config,settings,inputs,heads,biases,tied", OTHERS, ids=[row[0] for row in OTHERS])
def test_architectures(tmp_path, model, config, settings, inputs, heads, biases, tied):
    torch.manual_seed(0)
    model = getattr(transformers, model)(getattr(transformers, config)(**settings))
    model.save_pretrained(tmp_path)
    found = tables(tmp_path)
    expected = model.get_input_embeddings().weight.detach().numpy()
    checkpoint = open_checkpoint(tmp_path)
    for name in found.inputs:
        np.testing.assert_array_equal(checkpoint.read(name), expected)
    if found.heads:
        np.testing.assert_array_equal(
            checkpoint.read(found.heads[0]), model.get_output_embeddings().weight.detach().numpy()
        )
    assert found.rows == 300 and found.tied == tied
    for ours, theirs in ((found.inputs, inputs), (found.heads, heads), (found.biases, biases)):
        assert theirs is None or list(ours) == theirs
    # Nothing else of the model has a row per token.
    rest = set(checkpoint.entries) - {*found.inputs, *found.heads, *found.biases}
    assert not [name for name in rest if 300 in checkpoint.entries[name].shape]


def test_multimodal_text_tables(tmp_path):
    config = transformers.LlavaConfig(
        text_config={"model_type": "llama", **SMALL},
        vision_config={
            "model_type": "clip_vision_model",
            **BERTS,
            "image_size": 8,
            "patch_size": 4,
            "projection_dim": 8,
        },
    )
    transformers.LlavaForConditionalGeneration(config).save_pretrained(tmp_path)
    found = tables(tmp_path)
    assert len(found.inputs) == len(found.heads) == 1 and found.rows == 300
    assert found.inputs[0].endswith("embed_tokens.weight") and "vision" not in found.inputs[0]


def rewrite(directory, change):
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors")
    return directory


def test_padded_rows_are_counted(tmp_path):
    path = zoo.llama(tmp_path, vocab_rows=576)
    assert tables(path).rows == 576
    text = (path / "config.json").read_text().replace('"vocab_size": 576', '"vocab_size": 512')
    (path / "config.json").write_text(text)
    assert tables(path).rows == 576


def test_copies_of_one_table_are_all_listed(tmp_path):
    path = zoo.t5(tmp_path / "t5")

    def copies(tensors):
        for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"):
            tensors[name] = tensors["shared.weight"].copy()

    found = tables(rewrite(path, copies))
    assert set(found.inputs) == {"shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}
    assert found.heads == ("lm_head.weight",) and found.tied
    # mT5 and T5 v1.1 have a head of their own, though transformers 5 calls every T5 tied.
    path = zoo.t5(tmp_path / "mt5", tie_word_embeddings=False)
    found = tables(rewrite(path, lambda tensors: tensors.update({"lm_head.weight": tensors["shared.weight"] + 1})))
    assert found == VocabTables(("shared.weight",), ("lm_head.weight",), (), 400, False)


def test_a_tied_head_that_is_stored(tmp_path):
    path = zoo.llama(tmp_path / "m", tied=True, dtype="float32")
    found = tables(rewrite(path, lambda tensors: tensors.update({HEAD: tensors[EMBED].copy()})))
    assert found == VocabTables((EMBED,), (HEAD,), (), 512, True)
    # Stored with other values it is a head of its own, for transformers 5 too.
    found = tables(rewrite(path, lambda tensors: tensors.update({HEAD: tensors[EMBED] + 1})))
    assert found == VocabTables((EMBED,), (HEAD,), (), 512, False)
    model = transformers.AutoModelForCausalLM.from_pretrained(path)
    assert not torch.equal(model.lm_head.weight, model.get_input_embeddings().weight)


def test_only_the_head_of_a_tied_model_is_stored(tmp_path):
    path = zoo.llama(tmp_path / "m", tied=True, dtype="float32")
    found = tables(rewrite(path, lambda tensors: tensors.update({HEAD: tensors.pop(EMBED)})))
    assert found == VocabTables((HEAD,), (HEAD,), (), 512, True)


def test_an_untied_model_without_a_head(tmp_path):
    path = zoo.llama(tmp_path, dtype="float32")
    with pytest.raises(UserError, match="no head is stored"):
        tables(rewrite(path, lambda tensors: tensors.pop(HEAD)))


def test_ambiguous_and_absent_tables_are_said(tmp_path):
    path = zoo.llama(tmp_path / "a", dtype="float32")
    with pytest.raises(UserError, match=r"several input tables that differ: .*model\.embed_tokens.*draft"):
        tables(rewrite(path, lambda t: t.update({"model.z.draft.embed_tokens.weight": t[EMBED] + 1})))
    path = zoo.llama(tmp_path / "b", dtype="float32")

    def unknown(tensors):
        tensors["net.x.weight"], tensors["net.y.weight"] = tensors.pop(EMBED), tensors.pop(HEAD)

    with pytest.raises(UserError, match=r"which table is the input's\? candidates: net\.x\.weight \[512, 32\], net"):
        tables(rewrite(path, unknown))
    path = zoo.llama(tmp_path / "c", dtype="float32")
    with pytest.raises(UserError, match="no tensor has the 512 rows"):
        tables(rewrite(path, lambda t: t.update({EMBED: t[EMBED][:400].copy(), HEAD: t[HEAD][:400].copy()})))
    path = zoo.llama(tmp_path / "d", dtype="float32")
    with pytest.raises(UserError, match=r"has 512 rows but lm_head\.weight has 520"):
        tables(rewrite(path, lambda t: t.update({HEAD: np.zeros((520, 32), np.float32)})))
    path = zoo.bert(tmp_path / "bias")
    with pytest.raises(UserError, match=r"has 400 rows but the head's bias is cls\.predictions\.bias \[390\]"):
        tables(rewrite(path, lambda t: t.update({"cls.predictions.bias": np.zeros(390, np.float32)})))
    path = zoo.llama(tmp_path / "e", dtype="float32")
    with pytest.raises(UserError, match="quantised"):
        tables(rewrite(path, lambda t: t.update({EMBED: t[EMBED].astype(np.int8)})))
    path = zoo.llama(tmp_path / "f", dtype="float32")
    with pytest.raises(UserError, match="second table by token"):
        tables(rewrite(path, lambda t: t.update({"model.embed_tokens_per_layer.weight": t[EMBED]})))


def test_unknown_names_are_found_by_shape(tmp_path):
    path = zoo.llama(tmp_path, dtype="float32", tied=True)
    found = tables(rewrite(path, lambda tensors: tensors.update({"net.tokens.weight": tensors.pop(EMBED)})))
    assert found == VocabTables(("net.tokens.weight",), (), (), 512, True)
    found = tables(rewrite(path, lambda t: t.update({"net.emb": t.pop("net.tokens.weight"), "net.out": t["net.emb"] if
                                                     "net.emb" in t else np.ones((512, 32), np.float32)})))  # fmt: skip
    assert found.inputs == ("net.emb",) and found.heads == ("net.out",)


def test_tables_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        VocabTables((), (), (), 1, True).rows = 2
