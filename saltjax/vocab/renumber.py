"""A tokenizer.json with fewer tokens under new ids."""

import copy
from typing import Any

from saltjax.vocab.bpe import read_merges


def model_pieces(content: dict[str, Any]) -> dict[int, str]:
    """id -> piece of the model's own vocabulary (added tokens that it does not hold are not there)."""
    vocab = content["model"]["vocab"]
    pairs = enumerate(piece for piece, _ in vocab) if isinstance(vocab, list) else ((i, p) for p, i in vocab.items())
    return dict(pairs)


def renumbered(content: dict[str, Any], kept: list[int]) -> dict[str, Any]:
    """The tokens `kept` (old ids, rising) with the ids 0, 1, 2, ...; all else as it was.

    Merges of tokens that are gone are left out. Added tokens become pieces of the model as well: a tokenizer that is
    read from JSON gives them the model's ids, and counts on from its size where it has none.
    """
    new_id = {old: new for new, old in enumerate(kept)}
    content = copy.deepcopy(content)
    model, pieces = content["model"], model_pieces(content)
    content["added_tokens"] = [
        {**added, "id": new_id[added["id"]]} for added in content["added_tokens"] if added["id"] in new_id
    ]
    names = {new_id[old]: pieces[old] for old in kept if old in pieces}
    names |= {added["id"]: added["content"] for added in content["added_tokens"]}
    if isinstance(model["vocab"], list):
        scores = dict(enumerate(score for _, score in model["vocab"]))
        model["vocab"] = [[names[new], scores.get(old, 0.0)] for new, old in enumerate(kept)]
        if model.get("unk_id") is not None:
            model["unk_id"] = new_id[model["unk_id"]]
    else:
        model["vocab"] = {names[new]: new for new in range(len(kept))}
    if model["type"] == "BPE":
        merges = read_merges(model)
        there = model["vocab"]
        model["merges"] = [
            [left, right]
            for left, right in merges.rank
            if left in there and right in there and merges.joined(left, right) in there
        ]
    content["post_processor"] = _with_ids(content["post_processor"], new_id)
    return content


def _with_ids(part: Any, new_id: dict[int, int]) -> Any:
    """A post-processor's own ids: those of a template's special tokens, and BERT's and RoBERTa's [token, id]."""
    if isinstance(part, list):
        return [_with_ids(each, new_id) for each in part]
    if not isinstance(part, dict):
        return part
    changed = {name: _with_ids(value, new_id) for name, value in part.items()}
    if isinstance(part.get("ids"), list) and "tokens" in part:
        changed["ids"] = [new_id[old] for old in part["ids"]]
    for name in ("sep", "cls"):
        if isinstance(part.get(name), list) and len(part[name]) == 2:
            changed[name] = [part[name][0], new_id[part[name][1]]]
    return changed
