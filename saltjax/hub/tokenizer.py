"""Tokenizers: read any fast one; write one that a causal language model can use."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from saltjax.errors import UserError

# Files that hold a vocabulary. Without one, transformers makes up a tokenizer of a few special tokens.
VOCABULARY_FILES = r"tokenizer.*\.json|vocab\.(json|txt)|.*\.(model|tiktoken)|tekken\.json"

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a model directory (`.backend_tokenizer` is its `tokenizers.Tokenizer`).

    Code that comes with a model is never run. Raises UserError when no fast tokenizer can be had.
    """
    directory = Path(directory)
    names = [path.name for path in directory.iterdir() if path.name != "tokenizer_config.json"]
    if not any(re.fullmatch(VOCABULARY_FILES, name) for name in names):
        raise UserError(f"{directory}: no fast tokenizer (no tokenizer.json); save one there with save_pretrained")
    alone = [name for name in sorted(names) if name.endswith(".model")] if "tokenizer.json" not in names else []
    if alone and importlib.util.find_spec("sentencepiece") is None:
        raise UserError(
            f"{directory}: its tokenizer is the SentencePiece file {alone[0]} alone; "
            "`pip install sentencepiece protobuf` to read it"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # broken files raise plain Exceptions out of Rust
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{directory}: no fast tokenizer can be had ({reason}); "
            "load it where it works, then save_pretrained to get a tokenizer.json"
        ) from None
    if not isinstance(getattr(tokenizer, "backend_tokenizer", None), Tokenizer):
        raise UserError(f"{directory}: no fast tokenizer ({type(tokenizer).__name__} runs in Python only)")
    return tokenizer


def write_causal_tokenizer(
    tokenizer: PreTrainedTokenizerBase,
    out: Path,
    bos_id: int,
    eos_id: int,
    pad_id: int | None,
    chat_template: str | None,
    max_length: int | None = None,
) -> None:
    """Write `tokenizer` to `out` so that it serves a causal language model, whatever it served before.

    A text is encoded as BOS and its tokens: no [SEP] or </s> behind, no token_type_ids; a pair as BOS, A, B (ours).
    Padding and truncation that were saved with it are dropped, and padding goes to the left, as generation needs.
    `out` must hold the model's config.json already: the class that AutoTokenizer takes depends on it.
    """
    out = Path(out)
    bos, eos = _piece(tokenizer, bos_id, "bos_id"), _piece(tokenizer, eos_id, "eos_id")
    pad = None if pad_id is None else _piece(tokenizer, pad_id, "pad_id")
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content |= {"padding": None, "truncation": None}
    content["post_processor"] = bos_only(content["post_processor"], bos, bos_id)
    backend = Tokenizer.from_str(json.dumps(content))
    special = [piece for piece in dict.fromkeys((bos, eos, pad)) if piece and not _is_added(backend, piece)]
    backend.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in special])
    backend.save(str(out / "tokenizer.json"))

    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # reads tokenizer.json as it is, in every version
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": pad,
        "unk_token": tokenizer.unk_token,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        "padding_side": "left",
    }
    pre_tokenizer = content["pre_tokenizer"] or {}
    if "add_prefix_space" in pre_tokenizer:  # transformers 4 would overrule it by its own default
        config["add_prefix_space"] = pre_tokenizer["add_prefix_space"]
    if max_length is not None:
        config["model_max_length"] = max_length
    if chat_template is not None:
        (out / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
    _write_json(out / "tokenizer_config.json", {name: value for name, value in config.items() if value is not None})
    _insist_on_class(out, config)


def rebuilt(tokenizer: PreTrainedTokenizerBase, content: dict[str, Any]) -> PreTrainedTokenizerFast:
    """A tokenizer of the same special tokens and settings around another `tokenizer.json`."""
    settings = {
        "model_max_length": tokenizer.model_max_length,
        "padding_side": tokenizer.padding_side,
        "truncation_side": tokenizer.truncation_side,
        "model_input_names": tokenizer.model_input_names,
        "clean_up_tokenization_spaces": False,
        "chat_template": tokenizer.chat_template,
    }
    roles = {f"{role}_token": getattr(tokenizer, f"{role}_token") for role in ROLES}
    backend = Tokenizer.from_str(json.dumps(content))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **settings, **roles)


def write_tokenizer(tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write a tokenizer as it is (`rebuilt` makes it of any). `out` must hold the model's config.json already."""
    out = Path(out)
    tokenizer.backend_tokenizer.save(str(out / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{f"{role}_token": getattr(tokenizer, f"{role}_token") for role in ROLES},
        "model_input_names": tokenizer.model_input_names,
        "model_max_length": tokenizer.model_max_length,
        "clean_up_tokenization_spaces": False,
        "padding_side": tokenizer.padding_side,
        "truncation_side": tokenizer.truncation_side,
    }
    pre_tokenizer = json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"] or {}
    if "add_prefix_space" in pre_tokenizer:
        config["add_prefix_space"] = pre_tokenizer["add_prefix_space"]
    if isinstance(tokenizer.chat_template, str):
        (out / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")
    _write_json(out / "tokenizer_config.json", {name: value for name, value in config.items() if value is not None})
    _insist_on_class(out, config)


def bos_only(post_processor: dict[str, Any] | None, bos: str, bos_id: int) -> dict[str, Any]:
    """tokenizer.json's post-processor for BOS in front only. ByteLevel's part, which trims offsets, is kept."""
    kept = [_byte_level(part) for part in _flat(post_processor) if part["type"] in ("ByteLevel", "RobertaProcessing")]
    first: list[dict[str, Any]] = [{"SpecialToken": {"id": bos, "type_id": 0}}]
    text: list[list[dict[str, Any]]] = [[{"Sequence": {"id": name, "type_id": 0}}] for name in "AB"]
    template = {
        "type": "TemplateProcessing",
        "single": first + text[0],
        "pair": first + text[0] + text[1],
        "special_tokens": {bos: {"id": bos, "ids": [bos_id], "tokens": [bos]}},
    }
    return {"type": "Sequence", "processors": [*kept, template]} if kept else template


def _piece(tokenizer: PreTrainedTokenizerBase, token_id: int, argument: str) -> str:
    piece = tokenizer.backend_tokenizer.id_to_token(token_id)
    if piece is None:
        raise ValueError(f"{argument}: the tokenizer has no token {token_id}")
    return piece


def _is_added(backend: Tokenizer, piece: str) -> bool:
    return any(token.content == piece and token.special for token in backend.get_added_tokens_decoder().values())


def _flat(post_processor: dict[str, Any] | None) -> list[dict[str, Any]]:
    if post_processor is None:
        return []
    if post_processor["type"] == "Sequence":
        return [leaf for part in post_processor["processors"] for leaf in _flat(part)]
    return [post_processor]


def _byte_level(part: dict[str, Any]) -> dict[str, Any]:
    """RobertaProcessing is ByteLevel's trimming of offsets plus <s> and </s>; the latter go."""
    settings = {name: part[name] for name in ("add_prefix_space", "trim_offsets")}
    return {"type": "ByteLevel", **settings, "use_regex": part.get("use_regex", True)}


def _insist_on_class(out: Path, config: dict[str, Any]) -> None:
    """Make AutoTokenizer read tokenizer.json for model types (qwen2, qwen3_5) on which it forces a class of its own.

    Those classes rebuild a byte-level BPE around the vocabulary. AutoTokenizer leaves a tokenizer alone that names
    an `auto_map`; the small file that it names is what `trust_remote_code=True` would load.
    """
    if not (out / "config.json").is_file():
        raise ValueError(f"out: {out} has no config.json yet")
    if type(AutoTokenizer.from_pretrained(out, local_files_only=True)) is PreTrainedTokenizerFast:
        return
    name = "AsWritten"
    (out / "tokenizer_as_written.py").write_text(
        '"""The tokenizer of tokenizer.json as it is written, whatever the model type."""\n\n'
        f"from transformers import PreTrainedTokenizerFast\n\n\nclass {name}(PreTrainedTokenizerFast):\n    pass\n",
        encoding="utf-8",
    )
    reference = f"tokenizer_as_written.{name}"
    config = {name: value for name, value in config.items() if value is not None}
    _write_json(out / "tokenizer_config.json", config | {"auto_map": {"AutoTokenizer": [reference, reference]}})
    if type(AutoTokenizer.from_pretrained(out, local_files_only=True)) is not PreTrainedTokenizerFast:
        raise UserError(
            f"{out}: transformers puts its own tokenizer class on this model type; the result would not work"
        )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
