"""`config.rope_parameters`, which transformers 5 fills from old configs too, as switches of ours.

Each reader gives (switches, problems); problems name the parameter and its value.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from transformers import PreTrainedConfig

from saltjax.models.ropescaling import LinearRope, Llama3Rope, LongRope, RopeScaling, YarnRope

Types = dict[str, type[RopeScaling] | None]
TYPES: Types = {"default": None, "linear": LinearRope, "llama3": Llama3Rope, "yarn": YarnRope}
Switches = tuple[dict[str, Any], list[str]]


def no_rope(hf: PreTrainedConfig) -> Switches:
    """For models with another kind of positions."""
    parameters = getattr(hf, "rope_parameters", None)
    return {}, [f"rope_parameters={parameters!r}"] if parameters else []


def one_rope(hf: PreTrainedConfig) -> Switches:
    """One base and one scaling for all layers, over the whole head."""
    return _whole(hf.rope_parameters or {})


def two_ropes(hf: PreTrainedConfig) -> Switches:
    """Gemma 3: a base of the layers with a window, a base and a scaling of the others."""
    parameters = hf.rope_parameters or {}
    switches, problems = _whole(parameters.get("full_attention") or {})
    local, more = _whole(parameters.get("sliding_attention") or {})
    if local["rope_scaling"] is not None:
        more.append(f"rope_parameters.sliding_attention={parameters['sliding_attention']!r} (only unscaled)")
    return {**switches, "local_rope_theta": local["rope_theta"]}, problems + more


def short_rope(hf: PreTrainedConfig) -> Switches:
    """Phi-3: over the first `partial_rotary_factor` of each head, and LongRoPE as far as its short factors reach.

    Beyond the positions of pre-training PyTorch takes other factors for the whole batch, also for its first tokens.
    We say instead that the model has no such positions, so every sequence that is accepted is computed as there.
    """
    parameters = dict(hf.rope_parameters or {})
    original = parameters.get("original_max_position_embeddings")
    if parameters.get("rope_type") != "longrope" or not original:
        switches, fraction, problems = _read(parameters, TYPES)
        return {**switches, "rope_fraction": fraction}, problems
    parameters.setdefault("factor", hf.max_position_embeddings / original)
    parameters["short_factor"] = tuple(parameters.get("short_factor") or ())
    parameters.pop("long_factor", None)
    switches, fraction, problems = _read(parameters, {"longrope": LongRope})
    return {**switches, "rope_fraction": fraction, "max_positions": original}, problems


def _whole(parameters: Mapping[str, Any]) -> Switches:
    switches, fraction, problems = _read(parameters, TYPES)
    if fraction != 1.0:
        problems.append(f"rope_parameters.partial_rotary_factor={fraction!r} (only 1.0)")
    return switches, problems


def _read(parameters: Mapping[str, Any], types: Types) -> tuple[dict[str, Any], float, list[str]]:
    """(base and scaling, fraction of the head, problems)."""
    kind, theta = parameters.get("rope_type", "default"), parameters.get("rope_theta")
    fraction = parameters.get("partial_rotary_factor")
    fraction = 1.0 if fraction is None else fraction
    switches: dict[str, Any] = {"rope_theta": theta, "rope_scaling": None}
    if not isinstance(theta, int | float):
        return switches, fraction, [f"rope_theta={theta!r} (a number is needed)"]
    switches["rope_theta"] = float(theta)
    if kind not in types:
        return switches, fraction, [f"rope_type={kind!r} (only {', '.join(types)})"]
    scaling = types[kind]
    known = fields(scaling) if scaling else ()
    given = {field.name: parameters[field.name] for field in known if parameters.get(field.name) is not None}
    problems = [
        f"rope_parameters: {field.name} is missing for rope_type {kind}"
        for field in known
        if field.default is MISSING and field.name not in given
    ]
    read = {"rope_type", "type", "rope_theta", "partial_rotary_factor", *(field.name for field in known)}
    problems += [
        f"rope_parameters.{name}={value!r}"
        for name, value in parameters.items()
        if name not in read and value is not None
    ]
    if scaling and not problems:
        switches["rope_scaling"] = scaling(**given)
    return switches, fraction, problems
