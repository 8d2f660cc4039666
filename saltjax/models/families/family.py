"""A family: one declarative table that says how Hugging Face spells a model that `decoder.py` computes.

The same rows serve loading and export, so the two cannot disagree. A configuration field is renamed, read by a
function, required to have a value that we compute, or harmless; anything else of the configuration class that differs
from its default is refused by name, so that a new switch of a new transformers version is never silently ignored. (A
key that the class does not declare has no effect in PyTorch either.)
"""

import re
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from transformers import PreTrainedConfig

from saltjax.errors import UserError
from saltjax.models.config import DecoderConfig
from saltjax.models.families.ropes import Switches, one_rope

# What describes the vocabulary's use, the initialisation or the run, and not the computation.
HARMLESS = frozenset({"bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "initializer_range", "use_cache"})


class Read(NamedTuple):
    """One switch of ours from the values of some fields of theirs (None where there is none). The function raises
    ValueError, saying what is allowed, for values that we do not compute."""

    fields: tuple[str, ...]
    function: Callable[..., Any]


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
    """`rename`: HF field -> ours. `read`: ours -> how it follows from their fields. `require`: HF field -> the values
    that we compute. `fixed`: our switches that every model of the family has alike. `harmless`: HF fields that have no
    effect on what we compute (see `HARMLESS`). `rope`: how `rope_parameters` are read.

    `ignored`: regular expressions of stored tensors that carry nothing (buffers); `tied_copies`: names under which a
    tied head may be stored too; `prefixes`: what may stand before any of these names in a checkpoint, or not (GPT-2's
    published one lacks it)."""

    name: str
    model_types: tuple[str, ...]
    rename: Mapping[str, str]
    require: Mapping[str, tuple[Any, ...]]
    rows: tuple[Row, ...]
    read: Mapping[str, Read] = MappingProxyType({})
    fixed: Mapping[str, Any] = MappingProxyType({})
    harmless: tuple[str, ...] = ()
    rope: Callable[[PreTrainedConfig], Switches] = one_rope
    ignored: tuple[str, ...] = ()
    tied_copies: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()

    @property
    def known(self) -> frozenset[str]:
        """The HF fields that this family looks at or knows to be harmless."""
        fields = (field for read in self.read.values() for field in read.fields)
        return HARMLESS.union(self.rename, self.require, fields, self.harmless, ("rope_parameters", "model_type"))

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
        common = PreTrainedConfig().to_dict()
        problems += [
            f"{name}={getattr(hf, name)!r}"
            for name, default in type(hf)().to_dict().items()
            if name not in self.known and name not in common and getattr(hf, name, default) != default
        ]
        ours = {mine: getattr(hf, theirs) for theirs, mine in self.rename.items()}
        for mine, read in self.read.items():
            values = [getattr(hf, field, None) for field in read.fields]
            try:
                ours[mine] = read.function(*values)
            except ValueError as error:
                named = ", ".join(f"{field}={value!r}" for field, value in zip(read.fields, values, strict=True))
                problems.append(f"{named} ({error})")
        turning, rope_problems = self.rope(hf)
        problems += rope_problems
        if problems:
            raise UserError(f"{where}: not supported by the {self.name} family: {'; '.join(problems)}")
        try:
            return DecoderConfig(**{**ours, **turning, **self.fixed}, family=self.name)
        except (ValueError, TypeError) as error:
            raise UserError(f"{where}: {error}") from error

    def spelled(self, name: str, names: Collection[str]) -> str:
        """How a tensor of the table is called among `names`; `name` itself when it is not among them."""
        return next((prefix + name for prefix in ("", *self.prefixes) if prefix + name in names), name)

    def ignores(self, name: str) -> bool:
        bare = {name, *(name.removeprefix(prefix) for prefix in self.prefixes)}
        return any(re.fullmatch(pattern, one) for pattern in self.ignored for one in bare)
