"""A model's config.json through transformers, and the few facts that a vocabulary swap asks of it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from saltjax.errors import UserError


def read_config(directory: Path) -> PretrainedConfig:
    """The configuration of a model directory. Code that comes with a model is never run.

    Raises UserError: config.json missing, not JSON, of a model type that transformers does not know.
    """
    path = Path(directory) / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {directory} is not a model directory") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(content, dict) or not isinstance(content.get("model_type"), str):
        raise UserError(f"{path}: names no model_type; transformers cannot tell which architecture this is")
    try:
        return AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # transformers raises whatever the field's own check raises
        reason = " ".join(str(error).split("\n"))[:200]
        raise UserError(
            f"{path}: transformers cannot read it (model_type {content['model_type']!r}: {reason})"
        ) from None


def text_config(config: PretrainedConfig) -> PretrainedConfig:
    """The part about the language model: `text_config` of a multimodal model, else the config itself."""
    return config.get_text_config(decoder=True)


def vocab_size(config: PretrainedConfig) -> int:
    """The vocabulary size that the configuration states; the tables may have more rows (padding)."""
    size = getattr(text_config(config), "vocab_size", None)
    if not isinstance(size, int) or size < 1:
        raise UserError(f"config.json of {config.model_type}: vocab_size is {size!r}; a positive number is needed")
    return size


def tied(config: PretrainedConfig) -> bool:
    """Whether the configuration makes the output head the input table."""
    flag = getattr(config, "tie_word_embeddings", None)
    if flag is None:
        flag = getattr(text_config(config), "tie_word_embeddings", None)
    return bool(flag)


def special_ids(config: PretrainedConfig) -> dict[str, int | list[int] | None]:
    """{"bos_token_id", "eos_token_id", "pad_token_id"} as the configuration has them (eos may be a list)."""
    text = text_config(config)
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {name: getattr(text, name, None) for name in names}


def with_vocabulary(content: dict[str, Any], size: int, new_id: Mapping[int, int]) -> dict[str, Any]:
    """The content of a config.json or generation_config.json for a vocabulary of `size` tokens with new ids.

    `vocab_size` where there is one, and every `*_token_id` and list of ids, in `text_config` too; an id that `new_id`
    lacks becomes null, a list loses it.
    """

    def changed(name: str, value: Any) -> Any:
        if name == "vocab_size":
            return size
        if name == "text_config" and isinstance(value, dict):
            return with_vocabulary(value, size, new_id)
        if re.search(r"_token_ids?$|_tokens$|^bad_words_ids$", name):
            return _renumbered(value, new_id)
        return value

    return {name: changed(name, value) for name, value in content.items()}


def _renumbered(value: Any, new_id: Mapping[int, int]) -> Any:
    if isinstance(value, list):
        return [each for each in (_renumbered(one, new_id) for one in value) if each is not None]
    return new_id.get(value) if type(value) is int and value >= 0 else value
