"""Tiny random PLMs of every family that a transfer takes as TARGET, as their published directories look.

    zoo_plms.make("albert", tmp_path / "m")

Weights, config and a tokenizer of the family's own kind, trained on real German sentences. Where the published
checkpoint differs from what transformers writes (names, buffers, padding rows), `Kind.publish` makes it so.
"""

import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import zoo
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers.convert_slow_tokenizer import import_protobuf

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

HIDDEN = 24
ENCODER = {
    "hidden_size": HIDDEN, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128,
}  # fmt: skip
FACTORISED = {**ENCODER, "hidden_size": 36, "embedding_size": HIDDEN}
T5 = {"d_model": HIDDEN, "d_kv": 6, "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
BART = {
    "d_model": HIDDEN, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 128,
}  # fmt: skip
DEBERTA = {
    **ENCODER, "relative_attention": True, "position_buckets": 256, "norm_rel_ebd": "layer_norm", "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0,
}  # fmt: skip


# --- tokenizers -------------------------------------------------------------------------------------------------


def _plain(text):
    """Lower case without accents, as an uncased vocabulary sees text."""
    folded = (unicodedata.normalize("NFKD", line.lower()) for line in text)
    return tuple("".join(char for char in line if not unicodedata.combining(char)) for line in folded)


def _pieces(head, text, tail=(), size=400):
    return (
        [(piece, 0.0) for piece in head] + zoo._unigram(text, size - len(head) - len(tail)) + [(p, 0.0) for p in tail]
    )


def uncased_wordpiece(text):
    """BERT uncased, ELECTRA: lower-cased, accents stripped."""
    cased = zoo.wordpiece(_plain(text))
    return transformers.BertTokenizerFast(vocab=cased.get_vocab(), do_lower_case=True)


def xlm_roberta_unigram(text):
    """XLM-R: fairseq's <s> <pad> </s> <unk> first, <mask> last; <s> ... </s>."""
    return transformers.XLMRobertaTokenizer(vocab=_pieces(["<s>", "<pad>", "</s>", "<unk>"], text, ["<mask>"]))


def albert_unigram(text):
    """ALBERT: <pad> <unk> [CLS] [SEP] [MASK], lower-cased, accents stripped."""
    return transformers.AlbertTokenizer(vocab=_pieces(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"], _plain(text)))


def deberta_unigram(text):
    """DeBERTa v2 and v3: [PAD] [CLS] [SEP] [UNK] first, [MASK] last."""
    return transformers.DebertaV2Tokenizer(vocab=_pieces(["[PAD]", "[CLS]", "[SEP]", "[UNK]"], text, ["[MASK]"]))


def sentencepiece_file(tokenizer):
    """DeBERTa's spm.model, which holds all pieces but [MASK]."""
    model = import_protobuf().ModelProto()
    kinds = {"[UNK]": 2, "[PAD]": 3, "[CLS]": 3, "[SEP]": 3}  # unknown, control; 1 is a piece of text
    for piece, score in json.loads(tokenizer.backend_tokenizer.to_str())["model"]["vocab"][:-1]:
        model.pieces.add(piece=piece, score=score, type=kinds.get(piece, 1))
    model.trainer_spec.model_type = 1  # Unigram
    model.trainer_spec.unk_id = 3
    return model.SerializeToString()


def bart_bpe(text):
    """BART has RoBERTa's tokenizer."""
    return zoo.roberta_bpe(text)


def modernbert_bpe(text, size=512):
    """ModernBERT: byte-level BPE, runs of spaces as added tokens, then [UNK] [CLS] [SEP] [PAD] [MASK] and [unusedN]."""
    head, runs = ["|||IP_ADDRESS|||", "<|padding|>"], ["  ", "   "]
    specials = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    unused = [f"[unused{i}]" for i in range(3)]
    vocab, merges = zoo._byte_level(text, size - len(runs + specials + unused), head)
    backend = Tokenizer(models.BPE(vocab, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([AddedToken(run, normalized=True) for run in runs])
    backend.add_special_tokens(
        [AddedToken(s, special=True, normalized=False, lstrip=s == "[MASK]") for s in [*head, *specials]]
    )
    backend.add_tokens([AddedToken(piece, normalized=True) for piece in unused])
    ends = [(piece, backend.token_to_id(piece)) for piece in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", ends)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]",
        mask_token="[MASK]",
    )  # fmt: skip


# --- models -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """`scheme` is what the vocabulary's spelling must be recognised as, `rows` how many the padded table has."""

    model: str
    config: str
    settings: dict[str, Any]
    tokenizer: Callable[[tuple[str, ...]], Any]
    scheme: str
    rows: int | None = None
    publish: Callable[[dict[str, Any]], None] = field(default=lambda tensors: None)


def _deberta_v3(tensors):
    """Its replaced-token detector lies beside the masked-language-model head."""
    for name, shape in (
        ("dense.weight", (HIDDEN, HIDDEN)),
        ("dense.bias", (HIDDEN,)),
        ("classifier.weight", (1, HIDDEN)),
    ):
        tensors[f"mask_predictions.{name}"] = torch.randn(shape)


def _t5_copies(tensors):
    for side in ("encoder", "decoder"):
        tensors[f"{side}.embed_tokens.weight"] = tensors["shared.weight"].clone()


def _bare_gpt2(tensors):
    for name in [name for name in tensors if name.startswith("transformer.")]:
        tensors[name.removeprefix("transformer.")] = tensors.pop(name)
    for layer in range(2):
        tensors[f"h.{layer}.attn.bias"] = torch.ones(128, 128).tril()[None, None]


def _bert_head(tensors):
    """The tied head is stored again, beside the next-sentence classifier."""
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].clone()
    tensors["bert.embeddings.position_ids"] = torch.arange(128)[None]


def _roberta_head(tensors):
    """Published with its tied head stored again, and position ids as a buffer."""
    tensors["lm_head.decoder.weight"] = tensors["roberta.embeddings.word_embeddings.weight"].clone()
    tensors["lm_head.decoder.bias"] = tensors["lm_head.bias"].clone()
    tensors["roberta.embeddings.position_ids"] = torch.arange(128)[None]


ZOO = {
    "bert": Kind("BertForPreTraining", "BertConfig", ENCODER, zoo.wordpiece, "wordpiece", publish=_bert_head),
    "bert uncased": Kind("BertForMaskedLM", "BertConfig", ENCODER, uncased_wordpiece, "wordpiece"),
    "roberta": Kind("RobertaForMaskedLM", "RobertaConfig", ENCODER, zoo.roberta_bpe, "byte-level",
                    publish=_roberta_head),
    "xlm-r": Kind("XLMRobertaForMaskedLM", "XLMRobertaConfig", ENCODER, xlm_roberta_unigram, "sentencepiece"),
    "electra discriminator": Kind("ElectraForPreTraining", "ElectraConfig", {**ENCODER, "embedding_size": HIDDEN},
                                  uncased_wordpiece, "wordpiece"),
    "electra generator": Kind("ElectraForMaskedLM", "ElectraConfig", FACTORISED, uncased_wordpiece, "wordpiece"),
    "deberta v2": Kind("DebertaV2ForMaskedLM", "DebertaV2Config", {**DEBERTA, "legacy": True, "conv_kernel_size": 3,
                       "conv_act": "gelu"}, deberta_unigram, "sentencepiece", rows=448),
    "deberta v3": Kind("DebertaV2ForMaskedLM", "DebertaV2Config", {**DEBERTA, "legacy": False}, deberta_unigram,
                       "sentencepiece", rows=448, publish=_deberta_v3),
    "albert": Kind("AlbertForPreTraining", "AlbertConfig", FACTORISED, albert_unigram, "sentencepiece"),
    "distilbert": Kind("DistilBertForMaskedLM", "DistilBertConfig", {"dim": HIDDEN, "hidden_dim": 48, "n_layers": 2,
                       "n_heads": 4}, zoo.wordpiece, "wordpiece"),
    "t5": Kind("T5ForConditionalGeneration", "T5Config", T5, zoo.t5_unigram, "sentencepiece", rows=448,
               publish=_t5_copies),
    "t5 encoder": Kind("T5EncoderModel", "T5Config", T5, zoo.t5_unigram, "sentencepiece"),
    "mt5": Kind("MT5ForConditionalGeneration", "MT5Config", {**T5, "tie_word_embeddings": False,
                "feed_forward_proj": "gated-gelu"}, zoo.t5_unigram, "sentencepiece", rows=448),
    "bart": Kind("BartForConditionalGeneration", "BartConfig", BART, bart_bpe, "byte-level"),
    "bart encoder and decoder": Kind("BartModel", "BartConfig", BART, bart_bpe, "byte-level"),
    "gpt2": Kind("GPT2LMHeadModel", "GPT2Config", {"n_embd": HIDDEN, "n_layer": 2, "n_head": 4, "n_positions": 128},
                 zoo.gpt2_bpe, "byte-level", publish=_bare_gpt2),
    "modernbert": Kind("ModernBertForMaskedLM", "ModernBertConfig", ENCODER, modernbert_bpe, "byte-level", rows=576),
}  # fmt: skip


@cache
def tokenizer(make: Callable[[tuple[str, ...]], Any]) -> Any:
    """Shared between callers: do not change it."""
    return make(zoo.sentences("de"))


def make(name: str, path: Path, dtype: str = "float32") -> Any:
    """Write the directory; returns the PyTorch model that was saved."""
    kind = ZOO[name]
    tok = tokenizer(kind.tokenizer)
    roles = ("bos", "eos", "pad", "cls", "sep")
    ids = {f"{role}_token_id": getattr(tok, f"{role}_token_id") for role in roles}
    ids = {role: token_id for role, token_id in ids.items() if token_id is not None}
    config = getattr(transformers, kind.config)(vocab_size=kind.rows or len(tok), **{**ids, **kind.settings})
    torch.manual_seed(0)
    model = getattr(transformers, kind.model)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model = model.to(getattr(torch, dtype)).eval()
    model.config.dtype = getattr(torch, dtype)
    model.save_pretrained(path)
    tok.save_pretrained(path)
    tensors = load_file(path / "model.safetensors")
    kind.publish(tensors)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    return model
