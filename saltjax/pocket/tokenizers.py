"""Tokenizers trained on any lines of text, the same vocabulary on every run and machine."""

from collections import Counter
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

# Llama 3's words: contractions, letters with one leading mark, up to three digits, punctuation, line ends, spaces.
LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
BERT_SPECIALS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


def train_byte_bpe(lines: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer as Llama 3 has it: <|begin_of_text|> is put in front of a text, nothing behind it."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    bos, eos = "<|begin_of_text|>", "<|end_of_text|>"
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[bos, eos],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{bos} $A",
                pair=f"{bos} $A {bos} $B",
                special_tokens=[(bos, tokenizer.token_to_id(bos))],
            ),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def train_wordpiece(lines: Iterable[str], vocab_size: int, least_count: int = 2) -> PreTrainedTokenizerFast:
    """A cased WordPiece tokenizer as BERT has it: [CLS] text [SEP], pieces inside a word begin with ##.

    Characters seen less often than `least_count` are left to [UNK]. The trainer of `tokenizers` numbers the pieces ##x
    in the order of a hash table, and breaks ties between merges by these numbers, so its vocabulary changes from
    process to process. Naming every character and its ## form beforehand, sorted, settles the numbers.
    """
    specials = list(BERT_SPECIALS.values())
    normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    words = pre_tokenizers.BertPreTokenizer()
    lines = [normalizer.normalize_str(line) for line in lines]
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(line)
    alphabet = sorted(char for char, count in counts.items() if count >= least_count and not char.isspace())
    rare = {ord(char): " " for char in counts.keys() - set(alphabet)}

    counter = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    counter.pre_tokenizer = words
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=specials + alphabet + [f"##{char}" for char in alphabet],
        limit_alphabet=len(counts),
        show_progress=False,
    )
    counter.train_from_iterator((line.translate(rare) for line in lines), trainer)

    # The trainer has marked the alphabet as special; a fresh tokenizer around the same vocabulary has only BERT's five.
    tokenizer = Tokenizer(models.WordPiece(counter.get_vocab(), unk_token="[UNK]"))
    tokenizer.add_special_tokens([AddedToken(special, special=True, normalized=False) for special in specials])
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = words
    tokenizer.decoder = decoders.WordPiece()
    numbers = {special: number for number, special in enumerate(specials)}
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", numbers["[SEP]"]), ("[CLS]", numbers["[CLS]"]))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **BERT_SPECIALS,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
