"""What special tokens are for: roles, not spellings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from saltjax.errors import UserError

# The order matters: a token with two roles (GPT-2's <|endoftext|>) counts for the first of them. BOS leads, because
# every text begins with it and decoders lean on its row (as an attention sink) more than on any other.
ROLES = ("bos", "eos", "pad", "unk", "mask")
_STANDS_FOR = {"bos": ("bos", "cls"), "eos": ("eos", "sep"), "pad": ("pad",), "unk": ("unk",), "mask": ("mask",)}


def read_roles(tokenizer: Any) -> dict[str, int]:
    """Role -> id of a Hugging Face tokenizer's special tokens. An encoder's [CLS] is its BOS and [SEP] its EOS where it
    names no other; roles without a token are absent."""
    found = {}
    for role, names in _STANDS_FOR.items():
        ids = (getattr(tokenizer, f"{name}_token_id", None) for name in names)
        token_id = next((i for i in ids if i is not None), None)
        if token_id is not None:
            found[role] = token_id
    return found


@dataclass(frozen=True)
class CausalRoles:
    """The special ids of a decoder that uses this tokenizer."""

    bos: int
    eos: int
    pad: int | None
    notes: tuple[str, ...] = ()


def causal_roles(roles: Mapping[str, int]) -> CausalRoles:
    """BOS, EOS and PAD of a causal language model: BOS falls back to EOS (T5 has no BOS; GPT-2 uses one token for
    both), EOS to BOS, each with a note. Raises UserError when there is neither."""
    notes = []
    bos, eos = roles.get("bos"), roles.get("eos")
    if bos is None and eos is None:
        raise UserError("the tokenizer has no BOS, EOS, CLS or SEP token: set bos_token or eos_token in it")
    if bos is None:
        bos = eos
        notes.append("the tokenizer has no BOS (or CLS): its EOS begins every text")
    if eos is None:
        eos = bos
        notes.append("the tokenizer has no EOS (or SEP): its BOS ends every text")
    assert bos is not None and eos is not None
    return CausalRoles(bos, eos, roles.get("pad"), tuple(notes))


def match_roles(source: Mapping[str, int], target: Mapping[str, int]) -> dict[int, tuple[int, str]]:
    """target id -> (source id, role). Both sides' BOS and EOS fall back to one another as in `causal_roles`.

    PAD, UNK and MASK have no stand-in, and are not matched to a source token that is BOS or EOS as well: two target
    tokens with one row have equal logits, and the wrong one of [PAD] and [SEP] would end a text. (A source with one
    token for BOS and EOS gives its row to both of the target's all the same: adaptation tells them apart.)
    """
    source, target = _with_ends(source), _with_ends(target)
    ends = {source.get("bos"), source.get("eos")}
    matched: dict[int, tuple[int, str]] = {}
    for role in ROLES:
        if role not in target or role not in source or target[role] in matched:
            continue
        if role in ("bos", "eos") or source[role] not in ends:
            matched[target[role]] = (source[role], role)
    return matched


def _with_ends(roles: Mapping[str, int]) -> dict[str, int]:
    ends = [roles[role] for role in ("bos", "eos") if role in roles]
    return {"bos": ends[0], "eos": ends[-1], **roles} if ends else dict(roles)
