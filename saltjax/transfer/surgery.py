"""The operation itself: a source checkpoint with the vocabulary-sized tables replaced, as a Hugging Face directory.

Nothing here knows a model class. The tables are found by name and shape, every other tensor's bytes are copied.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from saltjax.errors import UserError
from saltjax.hub.config import read_config, text_config
from saltjax.hub.shards import copy_checkpoint
from saltjax.hub.tensors import Checkpoint, open_checkpoint
from saltjax.hub.tokenizer import load_tokenizer, write_causal_tokenizer
from saltjax.hub.vocabtables import VocabTables, find_vocab_tables
from saltjax.transfer.heads import Output, new_tables
from saltjax.transfer.initialisation import Initialisation
from saltjax.vocab.roles import CausalRoles, causal_roles
from saltjax.vocab.vocabulary import Vocabulary, read_vocabulary


@dataclass(frozen=True)
class Patient:
    """One model directory, opened: everything that a transfer reads of SOURCE or of TARGET."""

    directory: Path
    config: PretrainedConfig
    checkpoint: Checkpoint
    tables: VocabTables
    tokenizer: PreTrainedTokenizerBase
    vocabulary: Vocabulary

    def embedding(self) -> np.ndarray:
        """The input embedding [v, h], memory-mapped, in the stored dtype."""
        return self.checkpoint.read(self.tables.inputs[0])

    def output(self) -> np.ndarray:
        """The output rows [v, h], which are the input's where they are tied. UserError where there are none."""
        if self.tables.tied:
            return self.embedding()
        if not self.tables.heads:
            raise UserError(f"--head rerun: {self.directory} has no output table; leave --head out")
        return self.checkpoint.read(self.tables.heads[0])


def open_patient(directory: Path) -> Patient:
    """Raises UserError for anything that is missing, damaged or does not fit together."""
    config = read_config(directory)
    tokenizer = load_tokenizer(directory)
    vocabulary = read_vocabulary(tokenizer)
    checkpoint = open_checkpoint(directory)
    tables = find_vocab_tables(checkpoint, config)
    beyond = [token for token in vocabulary.tokens if token.id >= tables.rows]
    if beyond:
        raise UserError(
            f"{directory}: the tokenizer's token {beyond[0].piece!r} has id {beyond[0].id}, but {tables.inputs[0]} has "
            f"{tables.rows} rows: tokenizer and weights do not belong together"
        )
    used = checkpoint.read(tables.inputs[0])[[token.id for token in vocabulary.tokens]]
    if not np.isfinite(used.astype(np.float32)).all():
        raise UserError(f"{directory}: {tables.inputs[0]} holds values that are not finite; the checkpoint is damaged")
    return Patient(directory, config, checkpoint, tables, tokenizer, vocabulary)


def operate(
    source: Patient, target: Patient, initialisation: Initialisation, output: Output, out: Path
) -> tuple[list[str], dict[str, Any]]:
    """Write the new model into the directory `out` (which exists and is empty); (notes, what became of the head)."""
    replaced, found = new_tables(source.checkpoint, source.tables, initialisation, output)
    copy_checkpoint(source.checkpoint, out, replaced)
    ends = causal_roles(target.vocabulary.roles)
    _write_config(source, target.vocabulary, ends, out)
    template, notes = _chat_template(source, target)
    positions = getattr(text_config(source.config), "max_position_embeddings", None)
    write_causal_tokenizer(target.tokenizer, out, ends.bos, ends.eos, ends.pad, template, max_length=positions)
    return [*ends.notes, *notes, *_factorised(target), *_zeroed_position(source, ends)], found


def _zeroed_position(source: Patient, ends: CausalRoles) -> list[str]:
    """XGLM's positions are rows 2, 3, ... of a table whose row `pad_token_id` PyTorch sets to zero."""
    if source.config.model_type != "xglm" or ends.pad is None or ends.pad < 2:
        return []
    return [
        f"pad_token_id is {ends.pad} now: XGLM's code zeroes the encoding of position {ends.pad - 2} for it "
        f"(of {source.config.max_position_embeddings}), which the source did not; training gets used to it"
    ]


def _factorised(target: Patient) -> list[str]:
    """ALBERT and small ELECTRA models project their embedding's rows to the hidden size. We regress on the rows."""
    width, hidden = target.embedding().shape[1], getattr(text_config(target.config), "hidden_size", None)
    if not isinstance(hidden, int) or width == hidden:
        return []
    return [
        f"the embedding of {target.directory} is factorised: rows of {width} numbers, which its layers see projected "
        f"to {hidden}; the regression works on the {width}, all that is its tokens' own"
    ]


def _write_config(source: Patient, vocabulary: Vocabulary, ends: CausalRoles, out: Path) -> None:
    """config.json and generation_config.json as they are, with the new vocabulary's size and special ids."""
    ids = {"bos_token_id": ends.bos, "eos_token_id": ends.eos, "pad_token_id": ends.pad}
    config = json.loads((source.directory / "config.json").read_text(encoding="utf-8"))
    nested = config.get("text_config") if text_config(source.config) is not source.config else None
    for part in (config, nested):
        if part is not None and (part is nested or nested is None or "vocab_size" in part):
            part["vocab_size"] = vocabulary.size
        if part is not None:
            part.update(ids)
    _write_json(out / "config.json", config)
    generation: dict[str, Any] = {"_from_model_config": True}
    if (source.directory / "generation_config.json").is_file():
        generation = json.loads((source.directory / "generation_config.json").read_text(encoding="utf-8"))
    for token_lists in ("bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id"):
        generation.pop(token_lists, None)  # ids of the old vocabulary
    _write_json(out / "generation_config.json", generation | ids)


def _chat_template(source: Patient, target: Patient) -> tuple[str | None, list[str]]:
    """The source's chat template, if every special token that it spells out is a token of the new vocabulary."""
    template = getattr(source.tokenizer, "chat_template", None)
    if not isinstance(template, str):
        return None, []
    spelled = {t.piece for t in source.vocabulary.tokens if t.kind == "special" and t.piece in template}
    lost = sorted(spelled - {t.piece for t in target.vocabulary.tokens})
    if lost:
        return None, [f"the chat template was dropped: the new vocabulary has no {', '.join(lost[:4])}"]
    return template, []


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
