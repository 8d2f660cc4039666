"""Tiny random Hugging Face model directories, made offline with torch, for tests: `from zoo import ...`.

    zoo.llama(tmp_path / "m", tokenizer="byte_bpe", tied=False, dtype="bfloat16", vocab_rows=None, seed=0)

Every builder saves weights, config, generation_config and a tokenizer trained on real sentences, and returns the
path. Parameters are all random (norms and biases too), so that a swapped or forgotten one shows.
`vocab_rows` pads (or cuts) the embedding tables; `shard` ("20KB") splits the weights into shards with an index.
"""

import json
import math
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertTokenizerFast,
    GemmaTokenizerFast,
    GPT2TokenizerFast,
    PreTrainedTokenizerFast,
    RobertaTokenizerFast,
    T5TokenizerFast,
    XGLMTokenizerFast,
)

TEXT = Path(__file__).parents[1] / "saltjax/pocket/text"
CHAT = "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


@cache
def sentences(language: str = "en", count: int = 400) -> tuple[str, ...]:
    """The first sentences of the pocket text in one language (en, de, ar, vi)."""
    lines = (TEXT / "everyday.jsonl").read_text(encoding="utf-8").split("\n")
    return tuple(json.loads(line)[language] for line in lines[:count] if line)


# --- tokenizers -------------------------------------------------------------------------------------------------


def _bpe(text, size, specials=(), alphabet=()):
    """Merges and vocabulary of a BPE whose words start with ▁, or of a byte-level one when an alphabet is given."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = (
        pre_tokenizers.ByteLevel(add_prefix_space=False) if alphabet else pre_tokenizers.Metaspace()
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(specials), initial_alphabet=list(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(text, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def _byte_level(text, size, specials=()):
    return _bpe(text, size, specials, alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))


def _with_bytes(text, size, specials):
    """A SentencePiece-like BPE vocabulary: specials, <0x00>..<0xFF>, pieces."""
    head = [*specials, *(f"<0x{b:02X}>" for b in range(256))]
    vocab, merges = _bpe(text, size - len(head))
    pieces = [*head, *(piece for piece in sorted(vocab, key=vocab.get))]
    return {piece: i for i, piece in enumerate(pieces)}, merges


def _unigram(text, size):
    """Pieces and log probabilities of a Unigram model whose words start with ▁.

    The pieces are BPE's with their relative frequency: the library's own Unigram (and WordPiece) trainers give another
    answer from run to run.
    """
    vocab, merges = _bpe(text, size)
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    counts = Counter(piece for encoded in tokenizer.encode_batch(list(text)) for piece in encoded.tokens)
    scores = {piece: round(math.log((counts[piece] + 0.5) / counts.total()), 3) for piece in vocab}
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


def byte_bpe(text, size=512):
    """Llama 3: byte-level BPE, specials after the words, BOS put in front by a Sequence post-processor."""
    vocab, merges = _byte_level(text, size - 4)
    backend = Tokenizer(models.BPE(vocab, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|eot_id|>"]
    backend.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in specials])
    bos = (specials[0], backend.token_to_id(specials[0]))
    template = processors.TemplateProcessing(single=f"{bos[0]} $A", pair=f"{bos[0]} $A $B", special_tokens=[bos])
    backend.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=specials[0], eos_token=specials[1])


def gpt2_bpe(text, size=512):
    """GPT-2: byte-level BPE, one special <|endoftext|>, nothing put in front."""
    vocab, merges = _byte_level(text, size - 1)
    return GPT2TokenizerFast(vocab={**vocab, "<|endoftext|>": len(vocab)}, merges=merges)


def roberta_bpe(text, size=512):
    """RoBERTa: byte-level BPE, <s> ... </s>, <mask> last and taking the space before it."""
    head = ["<s>", "<pad>", "</s>", "<unk>"]
    vocab, merges = _byte_level(text, size - 1, head)
    return RobertaTokenizerFast(vocab={**vocab, "<mask>": len(vocab)}, merges=merges)


def sp_bpe(text, size=640):
    """Llama 2: SentencePiece BPE with byte fallback as the published tokenizer.json has it; <unk> <s> </s> bytes."""
    vocab, merges = _with_bytes(text, size, ["<unk>", "<s>", "</s>"])
    backend = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in ["<unk>", "<s>", "</s>"]])
    backend.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s> $B", [("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def gemma_bpe(text, size=640):
    """Gemma: SentencePiece BPE with byte fallback, no ▁ put in front, <pad> <eos> <bos> <unk> <mask>, <unusedN>."""
    unused = [f"<unused{i}>" for i in range(4)]
    vocab, merges = _with_bytes(text, size, ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *unused])
    return GemmaTokenizerFast(vocab=vocab, merges=merges, add_bos_token=True)


def t5_unigram(text, size=400):
    """T5: Unigram with ▁, <pad> </s> <unk>, ten <extra_id_N> at the end; </s> is appended to every text."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *_unigram(text, size - 13)]
    extra = [(f"<extra_id_{i}>", 0.0) for i in range(9, -1, -1)]
    return T5TokenizerFast(vocab=pieces + extra, extra_ids=10)


def xglm_unigram(text, size=400):
    """XGLM: Unigram with ▁, <s> <pad> </s> <unk>, seven <madeupwordN>; </s> is put IN FRONT of every text."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *_unigram(text, size - 11)]
    return XGLMTokenizerFast(vocab=pieces + [(f"<madeupword{i}>", 0.0) for i in range(7)])


def wordpiece(text, size=400):
    """BERT (cased): WordPiece with ##, [PAD] [unused0..3] [UNK] [CLS] [SEP] [MASK]; [CLS] ... [SEP]."""
    head = ["[PAD]", *(f"[unused{i}]" for i in range(4)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [" ".join(word for word, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(line)) for line in text]
    vocab, _ = _bpe(words, size)
    letters = sorted(piece for piece in vocab if len(piece) == 1 and piece != "▁")
    merged = [piece[1:] if piece.startswith("▁") else "##" + piece for piece in sorted(vocab, key=vocab.get)]
    pieces = list(dict.fromkeys([*head, *letters, *(piece for piece in merged if piece)]))[:size]
    return BertTokenizerFast(vocab={piece: i for i, piece in enumerate(pieces)}, do_lower_case=False)


TOKENIZERS = {
    "byte_bpe": byte_bpe,
    "gpt2": gpt2_bpe,
    "roberta": roberta_bpe,
    "sp_bpe": sp_bpe,
    "gemma": gemma_bpe,
    "t5": t5_unigram,
    "xglm": xglm_unigram,
    "wordpiece": wordpiece,
}


@cache
def tokenizer(kind: str, text: tuple[str, ...] | str = "en", size: int | None = None):
    """A trained tokenizer of one kind; `text` is a language of the pocket text or a tuple of sentences.

    Shared between callers: do not change it, load the saved one instead.
    """
    text = sentences(text) if isinstance(text, str) else text
    return TOKENIZERS[kind](text) if size is None else TOKENIZERS[kind](text, size)


# --- models -----------------------------------------------------------------------------------------------------


def _save(path, model_class, config_class, tok, dtype, vocab_rows, seed, shard, chat_template, settings):
    torch = pytest.importorskip("torch")
    import transformers

    ids = {f"{role}_token_id": getattr(tok, f"{role}_token_id") for role in ("bos", "eos", "pad")}
    config = getattr(transformers, config_class)(vocab_size=vocab_rows or len(tok), **{**ids, **settings})
    torch.manual_seed(seed)
    model = getattr(transformers, model_class)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    path = Path(path)
    model.to(getattr(torch, dtype)).eval()
    model.config.dtype = getattr(torch, dtype)
    model.save_pretrained(path, **({"max_shard_size": shard} if shard else {}))
    tok.save_pretrained(path)
    if chat_template:
        (path / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
    return path


def llama(
    path, tokenizer="byte_bpe", tied=False, dtype="bfloat16", vocab_rows=None, seed=0, shard=None, text="en",
    size=None, chat_template=None, **settings,
):  # fmt: skip
    """Llama: 2 layers, 32 wide, 4 heads, 2 key-value heads. `settings` go to LlamaConfig (rope_scaling, ...)."""
    shape = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 128, "tie_word_embeddings": tied,
    }  # fmt: skip
    tok = _tokenizer(tokenizer, text, size)
    return _save(
        path, "LlamaForCausalLM", "LlamaConfig", tok, dtype, vocab_rows, seed, shard, chat_template, shape | settings
    )


def gemma(
    path, tokenizer="gemma", dtype="bfloat16", vocab_rows=None, seed=0, shard=None, text="en", size=None, **settings
):
    """Gemma: tied, one key-value head, head_dim apart from hidden / heads."""
    shape = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 128,
    }  # fmt: skip
    tok = _tokenizer(tokenizer, text, size)
    return _save(path, "GemmaForCausalLM", "GemmaConfig", tok, dtype, vocab_rows, seed, shard, None, shape | settings)


def gpt2(
    path, tokenizer="gpt2", dtype="float32", vocab_rows=None, seed=0, shard=None, text="en", size=None, **settings
):
    """GPT-2: tied, learned positions."""
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
    tok = _tokenizer(tokenizer, text, size)
    return _save(path, "GPT2LMHeadModel", "GPT2Config", tok, dtype, vocab_rows, seed, shard, None, shape | settings)


def xglm(
    path, tokenizer="xglm", dtype="float32", vocab_rows=None, seed=0, shard=None, text="de", size=None, **settings
):
    """XGLM: a multilingual decoder, tied, sinusoidal positions."""
    shape = {
        "d_model": 24, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4, "max_position_embeddings": 128,
    }  # fmt: skip
    tok = _tokenizer(tokenizer, text, size)
    return _save(path, "XGLMForCausalLM", "XGLMConfig", tok, dtype, vocab_rows, seed, shard, None, shape | settings)


def bert(
    path, tokenizer="wordpiece", dtype="float32", vocab_rows=None, seed=0, shard=None, text="de", size=None, **settings
):
    """BERT with its masked-language-model head (tied, with an output bias)."""
    shape = {
        "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 128,
    }  # fmt: skip
    tok = _tokenizer(tokenizer, text, size)
    return _save(path, "BertForMaskedLM", "BertConfig", tok, dtype, vocab_rows, seed, shard, None, shape | settings)


def roberta(
    path, tokenizer="roberta", dtype="float32", vocab_rows=None, seed=0, shard=None, text="de", size=None, **settings
):
    """RoBERTa with its masked-language-model head."""
    shape = {
        "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 130,
    }  # fmt: skip
    tok = _tokenizer(tokenizer, text, size)
    return _save(
        path, "RobertaForMaskedLM", "RobertaConfig", tok, dtype, vocab_rows, seed, shard, None, shape | settings
    )


def t5(path, tokenizer="t5", dtype="float32", vocab_rows=None, seed=0, shard=None, text="de", size=None, **settings):
    """T5: encoder-decoder, one shared table."""
    shape = {"d_model": 24, "d_kv": 6, "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
    tok = _tokenizer(tokenizer, text, size)
    return _save(
        path, "T5ForConditionalGeneration", "T5Config", tok, dtype, vocab_rows, seed, shard, None, shape | settings
    )


_tokenizer = tokenizer  # the builders' argument of the same name hides it
