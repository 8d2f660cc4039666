"""What settings may be: types, ranges, choices, and which of them go together. Every mistake names its setting."""

import difflib
import math
from typing import TYPE_CHECKING, Any

from saltjax.data.mixture import corpora
from saltjax.data.template import TEMPLATES
from saltjax.errors import UserError
from saltjax.train.profile import read_steps
from saltjax.train.stages import in_steps, read_stages

if TYPE_CHECKING:
    from saltjax.train.config import AdaptConfig

_AT_LEAST: dict[str, float] = {
    "steps": 0, "batch_size": 1, "seq_len": 2, "learning_rate": 0, "warmup_steps": 0, "final_learning_rate_ratio": 0,
    "weight_decay": 0, "clip_norm": 0, "beta1": 0, "beta2": 0, "embeddings_first": 0, "seed": 0, "eval_every": 0,
    "checkpoint_every": 0, "keep_checkpoints": 1, "log_every": 1, "decay_steps": 0, "z_loss": 0, "accumulate": 1,
    "embedding_learning_rate_ratio": 0, "lora.rank": 1, "lora.alpha": 0, "ema": 0, "epochs": 0,
}  # fmt: skip
_ONE_OF = {
    "compute_dtype": ("auto", "float32", "bfloat16"), "remat": ("none", "block", "dots"),
    "schedule": ("cosine", "constant", "wsd"), "optimizer": ("adamw", "adafactor", "lion", "muon"),
    "moments_dtype": ("float32", "bfloat16"), "template": TEMPLATES,
}  # fmt: skip
_BELOW = {"beta1": 1, "beta2": 1, "ema": 1}


def checked(key: str, value: Any, defaults: dict[str, Any], where: str = "") -> Any:
    """`value` in the type of the default of `key`; UserError that names both."""
    if key not in defaults:
        near = difflib.get_close_matches(key, defaults, n=1, cutoff=0.0)[0]
        raise UserError(f"{where}unknown setting {key!r}; the nearest one is {near!r}")
    if key == "data":
        return corpora(value)
    if key == "stages":
        read_stages(value)
        return value
    kind = type(defaults[key])
    if kind is bool:
        if not isinstance(value, bool):
            raise UserError(f"{where}{key}={value!r} is neither true nor false")
    elif kind is str:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise UserError(f"{where}{key}={value!r} is not a text, as in {key}={defaults[key]}")
        value = str(value)
    elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{where}{key}={value!r} is not a number, as in {key}={defaults[key]}")
    elif kind is int and value != int(value):
        raise UserError(f"{where}{key}={value!r} is not a whole number, as in {key}={defaults[key]}")
    value = kind(value)
    if key == "cache" and "://" in value:
        raise UserError(f"{where}{key}={value} must be a local directory: token ids are memory-mapped")
    if key.startswith("mesh.") and value != -1 and value < 1:
        raise UserError(f"{where}{key}={value} must be at least 1, or -1 for all devices that are left")
    if key in _AT_LEAST and value < _AT_LEAST[key]:
        raise UserError(f"{where}{key}={value} must be at least {_AT_LEAST[key]}")
    if key in _BELOW and value >= _BELOW[key]:
        raise UserError(f"{where}{key}={value} must be below {_BELOW[key]}")
    if key in _ONE_OF and value not in _ONE_OF[key]:
        raise UserError(f"{where}{key}={value} is not one of {', '.join(_ONE_OF[key])}")
    return value


def consistent(config: "AdaptConfig") -> "AdaptConfig":
    """UserError for settings that do not go together."""
    if config.batch_size % config.accumulate:
        raise UserError(f"accumulate={config.accumulate} must divide batch_size={config.batch_size}")
    if config.embeddings_first and config.stages:
        raise UserError("embeddings_first is short for a first stage; give either it or stages")
    in_steps(config.stages, config.steps)
    adapters = {part for part in config.parts if part.startswith("lora")}
    if config.adapter_neurons and len(adapters) > 1:
        raise UserError(
            f"the adapters of a run are for the same neurons in all stages, not {', '.join(sorted(adapters))}"
        )
    read_steps(config.profile_steps)
    if config.decay_steps and config.schedule != "wsd":
        raise UserError(f"decay_steps={config.decay_steps} belongs to schedule=wsd, not to {config.schedule}")
    if config.moments_dtype == "bfloat16" and config.beta2 > 0.99 and config.optimizer in ("adamw", "muon"):
        raise UserError(
            f"beta2={config.beta2} changes a second moment by less than bfloat16 resolves; "
            "use beta2=0.99 or less, or moments_dtype=float32"
        )
    return config
