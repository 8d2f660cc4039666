"""A model directory with fewer tokens: tables cut, ids renumbered, everything else bit for bit."""

import json
from pathlib import Path

import numpy as np

from saltjax.hub.config import text_config, with_vocabulary
from saltjax.hub.shards import copy_checkpoint
from saltjax.hub.tokenizer import rebuilt, write_tokenizer
from saltjax.transfer.surgery import Patient
from saltjax.vocab.prune import Pruned

COUNTS_FROM_PAD = ("roberta", "xlm-roberta", "camembert", "xglm", "mpnet", "longformer")  # positions, in their code


def write_pruned(model: Patient, pruned: Pruned, out: Path) -> list[str]:
    """Write `model` with the tokens of `pruned` only into the empty directory `out`; returns notes.

    Rows of the input table, the head and its bias are those of the kept tokens; padding rows are dropped.
    """
    tables, kept = model.tables, np.array(pruned.kept)
    names = (*tables.inputs, *tables.heads, *tables.biases)
    replaced = {}
    for name in names:
        table = model.checkpoint.read(name)
        replaced[name] = table[..., kept] if name in tables.biases else table[kept]
    copy_checkpoint(model.checkpoint, out, replaced)
    new_id = {old: new for new, old in enumerate(pruned.kept)}
    for name in ("config.json", "generation_config.json"):
        if (model.directory / name).is_file():
            content = json.loads((model.directory / name).read_text(encoding="utf-8"))
            content = with_vocabulary(content, len(kept), new_id)
            (out / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_tokenizer(rebuilt(model.tokenizer, pruned.content), out)
    pad = getattr(text_config(model.config), "pad_token_id", None)
    if model.config.model_type in COUNTS_FROM_PAD and pad is not None and new_id.get(pad) != pad:
        return [f"pad_token_id {pad} is {new_id.get(pad)} now: {model.config.model_type} counts positions from it"]
    return []
