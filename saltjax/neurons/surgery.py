"""Neurons held at chosen values, as a change of the weights: the result is a model like any other.

A neuron that is the same number for every token needs no hook. With c the value of neuron j and an MLP with biases

    pre       gate[:, j] = 0,  gate_bias[j] = c
    post      gate[:, j] = 0,  gate_bias[j] = 1,  up[:, j] and up_bias[j] times c / act(1)
    product   down[j, :] = 0,  down_bias += c down[j, :]

give exactly what setting the activation to c gives (ours; the published codes hook the forward pass). So whatever takes
a model takes one with an intervention: scores, tasks, generation, export.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import Params, abstract_model
from saltjax.models.mlp import ACTIVATIONS
from saltjax.models.model import Model
from saltjax.models.tap import check_has_neurons


def with_biases(model: Model) -> Model:
    """The same model with biases, of 0, in its MLPs, so that `held` finds its place. UserError for experts."""
    check_has_neurons(model.config)
    if model.config.mlp_bias:
        return model
    config = replace(model.config, mlp_bias=True)
    graphdef, abstract = abstract_model(config)
    mlp = dict(model.params["layers"]["mlp"])
    for name, leaf in abstract["layers"]["mlp"].items():
        if name not in mlp:
            mlp[name] = jnp.zeros(leaf.shape, mlp["down"].dtype, device=_everywhere(mlp["down"]))
    return Model(config, graphdef, _with_mlp(model.params, mlp), model.dtypes)


def held(model: Model, neurons: Bool[np.ndarray, "l f"], values: Float[np.ndarray, "l f"], point: str) -> Model:
    """`model` (with biases) with these neurons at these values for every token. Nothing else is copied."""
    mlp = model.params["layers"]["mlp"]
    changed = _changed(model.config, point, mlp, jnp.asarray(neurons), jnp.asarray(values, jnp.float32))
    return model._replace(params=_with_mlp(model.params, mlp | changed))


@jax.jit(static_argnums=(0, 1))
def _changed(
    config: DecoderConfig, point: str, mlp: Params, chosen: Bool[Array, "l f"], values: Float[Array, "l f"]
) -> dict[str, Array]:
    if point == "product" or (point == "post" and not config.gated):
        down = mlp["down"]
        constant = jnp.einsum("lf,lfd->ld", jnp.where(chosen, values, 0.0), down.astype(jnp.float32))
        return {
            "down": jnp.where(chosen[..., None], 0, down),
            "down_bias": mlp["down_bias"] + constant.astype(mlp["down_bias"].dtype),
        }
    enters = "gate" if config.gated else "up"
    fixed = values if point == "pre" else jnp.ones_like(values)
    changed: dict[str, Any] = {
        enters: jnp.where(chosen[:, None], 0, mlp[enters]),
        f"{enters}_bias": jnp.where(chosen, fixed, mlp[f"{enters}_bias"]).astype(mlp[f"{enters}_bias"].dtype),
    }
    if point == "post":
        scale = jnp.where(chosen, values / ACTIVATIONS[config.activation](jnp.float32(1)), 1.0)
        changed["up"] = (mlp["up"] * scale[:, None]).astype(mlp["up"].dtype)
        changed["up_bias"] = (mlp["up_bias"] * scale).astype(mlp["up_bias"].dtype)
    return changed


def _with_mlp(params: Params, mlp: Params) -> Params:
    return {**params, "layers": {**params["layers"], "mlp": mlp}}


def _everywhere(like: Array) -> Any:
    """The devices of a parameter, each with a copy: biases are small."""
    sharding = like.sharding
    if isinstance(sharding, jax.sharding.NamedSharding):
        return jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
    return sharding
