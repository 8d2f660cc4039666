"""A PLM like T5 (Raffel et al. 2020, arXiv 1910.10683): its own Unigram tokenizer, span corruption; in PyTorch.

Fixed shapes: every window of `seq_len` tokens loses 15 % of them in spans of three on average (section 3.1.4).
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from plms import counted_rows, lines_of, stream, without_rare
from settings import Model
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import T5Config, T5ForConditionalGeneration, T5TokenizerFast

from saltjax.hub.directory import whole_directory

NOISE, SPAN = 0.15, 3
SENTINELS = 32
SCALE = 0.3  # of the rows at the start: with the head's factor 1 / sqrt(d), logits of about that size
TOKENIZER_LINES = 1_000


def make_t5(out: Path, text: Path, size: Model) -> Path:
    if not out.exists():
        lines = lines_of(text)
        tokenizer = _unigram(without_rare(lines)[:TOKENIZER_LINES], size.vocab_size)
        ids = stream(lines, tokenizer)
        model = _trained(_fresh(tokenizer, size, ids), tokenizer, ids, size)
        with whole_directory(out) as partial:
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
    return out


def corrupted(window: np.ndarray, sentinels: np.ndarray, eos: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """(what the encoder sees, what the decoder says) of one window: each lost span is a sentinel in the one, and
    follows that sentinel in the other; both end with EOS. Their lengths depend on the window's alone."""
    noise = max(1, round(NOISE * len(window)))
    spans = max(1, round(noise / SPAN))
    lost, kept = _parts(noise, spans, rng), _parts(len(window) - noise, spans, rng)
    seen: list[np.ndarray] = []
    said: list[np.ndarray] = []
    at = 0
    for sentinel, before, gone in zip(sentinels, kept, lost, strict=False):
        seen += [window[at : at + before], [sentinel]]
        said += [[sentinel], window[at + before : at + before + gone]]
        at += before + gone
    return np.concatenate([*seen, [eos]]), np.concatenate([*said, [eos]])


def _parts(total: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` positive numbers with this sum, all such equally likely."""
    cuts = np.sort(rng.choice(total - 1, count - 1, replace=False)) + 1
    return np.diff([0, *cuts, total])


def _unigram(lines: list[str], size: int) -> T5TokenizerFast:
    learner = Tokenizer(models.Unigram())
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    wanted = size - len(specials) - SENTINELS
    learner.train_from_iterator(lines, trainers.UnigramTrainer(vocab_size=wanted, show_progress=False))
    pieces = [(piece, score) for piece, score in json.loads(learner.to_str())["model"]["vocab"]][:wanted]
    extra = [(f"<extra_id_{i}>", 0.0) for i in range(SENTINELS - 1, -1, -1)]
    return T5TokenizerFast(vocab=[*specials, *pieces, *extra], extra_ids=SENTINELS)


def _fresh(tokenizer: T5TokenizerFast, size: Model, ids: np.ndarray) -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=size.hidden_size,
        d_kv=size.hidden_size // size.heads,
        d_ff=4 * size.hidden_size,
        num_layers=size.layers,
        num_heads=size.heads,
        dropout_rate=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        table = model.get_input_embeddings().weight
        table *= SCALE
        table.copy_(torch.from_numpy(counted_rows(table.numpy(), ids, tokenizer, SCALE)))
    return model


def _trained(
    model: T5ForConditionalGeneration, tokenizer: T5TokenizerFast, ids: np.ndarray, size: Model
) -> T5ForConditionalGeneration:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device).train()
    sentinels = np.array(tokenizer.convert_tokens_to_ids([f"<extra_id_{i}>" for i in range(SENTINELS)]))
    optimiser = torch.optim.AdamW(model.parameters(), lr=size.learning_rate, weight_decay=0.01)

    def rate(step: int) -> float:
        if step < size.warmup_steps:
            return (step + 1) / size.warmup_steps
        done = (step - size.warmup_steps) / max(1, size.steps - size.warmup_steps)
        return 0.1 + 0.45 * (1 + math.cos(math.pi * done))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    rng = np.random.default_rng(0)
    for step in range(size.steps):
        starts = rng.integers(0, len(ids) - size.seq_len + 1, size.batch_size)
        rows = [corrupted(ids[at : at + size.seq_len], sentinels, tokenizer.eos_token_id, rng) for at in starts]
        seen, said = (torch.tensor(np.stack(part), dtype=torch.long, device=device) for part in zip(*rows, strict=True))
        loss = model(input_ids=seen, labels=said).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 0 or step == size.steps - 1:
            print(f"t5: step {step + 1}/{size.steps}, loss {loss.item():.3f}", flush=True)
    return model.cpu()
