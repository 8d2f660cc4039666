"""`config.rope_parameters`, which transformers 5 fills from old configs too, as switches of ours.

Each reader gives (switches, problems); problems name the parameter and its value.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from saltjax.models.ropescaling import LinearRope, Llama3Rope, RopeScaling, YarnRope

TYPES: dict[str, type[RopeScaling] | None] = {
    "default": None,
    "linear": LinearRope,
    "llama3": Llama3Rope,
    "yarn": YarnRope,
}
Switches = tuple[dict[str, Any], list[str]]


def no_rope(parameters: Mapping[str, Any] | None) -> Switches:
    """For models with another kind of positions."""
    return {}, [f"rope_parameters={parameters!r}"] if parameters else []


def one_rope(parameters: Mapping[str, Any] | None) -> Switches:
    """One base and one scaling for all layers, over the whole head."""
    theta, scaling, fraction, problems = _read(parameters or {})
    if fraction != 1.0:
        problems.append(f"rope_parameters.partial_rotary_factor={fraction!r} (only 1.0)")
    return {"rope_theta": theta, "rope_scaling": scaling}, problems


def partial_rope(parameters: Mapping[str, Any] | None) -> Switches:
    """As `one_rope`, over the first `partial_rotary_factor` of each head."""
    theta, scaling, fraction, problems = _read(parameters or {})
    return {"rope_theta": theta, "rope_scaling": scaling, "rope_fraction": fraction}, problems


def two_ropes(parameters: Mapping[str, Any] | None) -> Switches:
    """Gemma 3: a base of the layers with a window, a base and a scaling of the others."""
    parameters = parameters or {}
    switches, problems = one_rope(parameters.get("full_attention"))
    local, more = one_rope(parameters.get("sliding_attention"))
    if local["rope_scaling"] is not None:
        more.append(f"rope_parameters.sliding_attention={parameters['sliding_attention']!r} (only unscaled)")
    return {**switches, "local_rope_theta": local["rope_theta"]}, problems + more


def _read(parameters: Mapping[str, Any]) -> tuple[float, RopeScaling | None, float, list[str]]:
    """(theta, scaling, fraction of the head, problems)."""
    kind = parameters.get("rope_type", "default")
    theta = parameters.get("rope_theta")
    fraction = parameters.get("partial_rotary_factor")
    fraction = 1.0 if fraction is None else fraction
    if not isinstance(theta, int | float):
        return 0.0, None, fraction, [f"rope_theta={theta!r} (a number is needed)"]
    if kind not in TYPES:
        return theta, None, fraction, [f"rope_type={kind!r} (only {', '.join(TYPES)})"]
    scaling = TYPES[kind]
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
    return float(theta), scaling(**given) if scaling and not problems else None, fraction, problems
