"""A model's config.json through transformers, and the few facts that a vocabulary swap asks of it."""

import json
from pathlib import Path

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
