"""A family: one declarative table that says how Hugging Face spells a model that `decoder.py` computes.

The same rows serve loading and export, so the two cannot disagree. A configuration field is renamed, required to
have a value that we compute, or harmless; anything else of the configuration class that differs from its default is
refused by name, so that a new switch of a new transformers version is never silently ignored. (A key that the class
does not declare has no effect in PyTorch either.)
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from transformers import PreTrainedConfig

from saltjax.errors import UserError
from saltjax.models.config import DecoderConfig
from saltjax.models.rope import LinearRope, Llama3Rope, RopeScaling

ROPE_TYPES: dict[str, type[RopeScaling] | None] = {"default": None, "linear": LinearRope, "llama3": Llama3Rope}

# What describes the vocabulary's use, the initialisation or the run, and not the computation.
HARMLESS = frozenset({"bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "initializer_range", "use_cache"})


class Row(NamedTuple):
    """`name` as stored, `path` in our tree, `pattern` of `layout.py` for one layer.

    "{}" in the name is the layer, a second one the expert: ours is stacked over them, [L, ...] or [L, E, ...]. Rows
    with one name are parts of one stored tensor, in this order, along the axis that their patterns mark with `+`.
    The axis `v`, the vocabulary, comes first on both sides: the stored tensor may be shorter there than ours.
    """

    name: str
    path: str
    pattern: str

    @property
    def stacked(self) -> int:
        """The number of leading axes of our parameter that the stored tensor does not have."""
        return self.name.count("{}")

    @property
    def vocabulary(self) -> bool:
        return "v" in self.pattern.split()


class Family(NamedTuple):
    """`rename`: HF field -> ours. `require`: HF field -> the values that we compute. `ignored`: regular expressions
    of stored tensors that carry nothing (buffers); `tied_copies`: names under which a tied head may be stored too;
    `prefixes`: what may stand before any of these names in a checkpoint, or not (GPT-2's published one lacks it)."""

    name: str
    model_types: tuple[str, ...]
    rename: Mapping[str, str]
    require: Mapping[str, tuple[Any, ...]]
    rows: tuple[Row, ...]
    ignored: tuple[str, ...] = ()
    tied_copies: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()

    def decoder_config(self, hf: PreTrainedConfig) -> DecoderConfig:
        """Ours from theirs; one UserError with every field that we do not compute."""
        where = f"{getattr(hf, 'name_or_path', '') or hf.model_type}: config.json"
        problems = [
            f"{name}={getattr(hf, name)!r} (only {' or '.join(map(repr, allowed))})"
            for name, allowed in self.require.items()
            if getattr(hf, name, allowed[0]) not in allowed
        ]
        if getattr(hf, "quantization_config", None) is not None:
            problems.append("quantization_config (only unquantised weights)")
        known = {*self.rename, *self.require, *HARMLESS, "rope_parameters", "model_type"}
        defaults = type(hf)().to_dict()
        common = PreTrainedConfig().to_dict()
        problems += [
            f"{name}={getattr(hf, name)!r}"
            for name, default in defaults.items()
            if name not in known and name not in common and getattr(hf, name, default) != default
        ]
        theta, scaling, rope_problems = read_rope(hf.rope_parameters)
        problems += rope_problems
        if problems:
            raise UserError(f"{where}: not supported by the {self.name} family: {'; '.join(problems)}")
        ours = {mine: getattr(hf, theirs) for theirs, mine in self.rename.items()}
        try:
            return DecoderConfig(**ours, rope_theta=theta, rope_scaling=scaling, family=self.name)
        except (ValueError, TypeError) as error:
            raise UserError(f"{where}: {error}") from error

    def spelled(self, name: str, names: Collection[str]) -> str:
        """How a tensor of the table is called among `names`; `name` itself when it is not among them."""
        return next((prefix + name for prefix in ("", *self.prefixes) if prefix + name in names), name)

    def ignores(self, name: str) -> bool:
        bare = {name, *(name.removeprefix(prefix) for prefix in self.prefixes)}
        return any(re.fullmatch(pattern, one) for pattern in self.ignored for one in bare)


def read_rope(parameters: Mapping[str, Any] | None) -> tuple[float, RopeScaling | None, list[str]]:
    """(theta, scaling, problems) of a `config.rope_parameters`, which transformers 5 fills from old configs too."""
    parameters = parameters or {}
    kind = parameters.get("rope_type", "default")
    theta = parameters.get("rope_theta")
    if not isinstance(theta, int | float):
        return 0.0, None, [f"rope_theta={theta!r} (a number is needed)"]
    if kind not in ROPE_TYPES:
        return theta, None, [f"rope_type={kind!r} (only {', '.join(ROPE_TYPES)})"]
    scaling = ROPE_TYPES[kind]
    names = [field.name for field in fields(scaling)] if scaling else []
    problems = [f"rope_parameters: {name} is missing for rope_type {kind}" for name in names if name not in parameters]
    neutral = {"partial_rotary_factor": 1.0}
    for name, value in parameters.items():
        if name not in {"rope_type", "type", "rope_theta", *names} and value not in (None, neutral.get(name)):
            problems.append(f"rope_parameters.{name}={value!r}")
    if problems:
        return theta, None, problems
    return float(theta), scaling(**{name: parameters[name] for name in names}) if scaling else None, []
