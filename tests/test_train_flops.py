"""Model flops against the products that the training step's own program has."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import abstract_model
from saltjax.models.model import Model
from saltjax.train.config import read_config
from saltjax.train.elements import elements
from saltjax.train.flops import step_flops, token_flops
from saltjax.train.forward import decoder_forward
from saltjax.train.lora import with_adapters
from saltjax.train.loss import chunked_cross_entropy, targets
from saltjax.train.trainable import join, select, trainable

ROWS, LENGTH = 2, 16
CONFIG = DecoderConfig(
    vocab_size=48, hidden_size=16, layers=4, heads=4, kv_heads=2, head_dim=8, mlp_size=24, max_positions=32
)
N = 4 * (2 * 16 * 32 + 2 * 16 * 16 + 3 * 16 * 24)  # q o, k v, gate up down
HEAD, ATTENTION = 48 * 16, 4 * 32 * LENGTH


def products(program) -> int:
    """The flops of all matrix products of a program: 2 x output x contracted, in a scan as often as it runs."""
    total = 0
    for operation in program.eqns:
        if operation.primitive.name == "dot_general":
            (contracted, _), _ = operation.params["dimension_numbers"]
            inner = math.prod(operation.invars[0].aval.shape[i] for i in contracted)
            total += 2 * math.prod(operation.outvars[0].aval.shape) * inner
        times = operation.params["length"] if operation.primitive.name == "scan" else 1
        for value in operation.params.values():
            if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
                total += times * products(getattr(value, "jaxpr", value))
    return total


def in_the_program(config: DecoderConfig, spec: str) -> tuple[int, float]:
    """(flops of the products of loss and gradient as they are programmed, model flops)."""
    graphdef, params = abstract_model(config)
    settings = read_config(None, [f"trainable={spec}", "lora.rank=3"])
    params = with_adapters(params, settings)
    mask = trainable(params, spec)
    forward = decoder_forward(Model(config, graphdef, params, {}), jnp.float32)
    batch = {name: jnp.ones((ROWS, LENGTH), jnp.int32) for name in ("tokens", "segments", "positions")}

    def loss(learning, params):
        params = join(params, learning, mask)
        hidden = forward.hidden(params, batch["tokens"], batch["positions"], batch["segments"])
        following, valid = targets(batch["tokens"], batch["segments"])
        tables = {name: params[name] for name in ("embed", "head") if name in params}
        return chunked_cross_entropy(forward.logits, tables, hidden, following, valid, LENGTH).objective

    program = jax.make_jaxpr(lambda params: jax.value_and_grad(loss)(select(params, mask), params))(params)
    return products(program.jaxpr), step_flops(config, params, mask, ROWS, LENGTH)


@pytest.mark.parametrize(
    ("spec", "tied"),
    [
        *((spec, False) for spec in ("full", "embeddings", "layers:1", "lora", "head.*", "layers.mlp.up@0,2+norm.*")),
        *((spec, True) for spec in ("full", "layers:-1")),
    ],
)
def test_the_steps_program_has_these_products_and_no_others(spec, tied):
    there, ours = in_the_program(dataclasses.replace(CONFIG, tie_embeddings=tied), spec)
    assert there == ours


def per_token(config: DecoderConfig, spec: str = "full") -> float:
    params = abstract_model(config)[1]
    return token_flops(config, params, trainable(params, spec), LENGTH)


def test_full_training_is_palms_formula():
    assert per_token(CONFIG) == 6 * (N + HEAD) + 3 * ATTENTION * 4
    padded = dataclasses.replace(CONFIG, vocab_rows=128)
    assert per_token(padded) == per_token(CONFIG)  # rows that only the mesh needs


def test_windows_and_experts_count_what_a_token_meets():
    windows = dataclasses.replace(CONFIG, windows=(0, 4, 0, 100))
    assert per_token(CONFIG) - per_token(windows) == 3 * 4 * 32 * (LENGTH - 4)
    experts = dataclasses.replace(CONFIG, experts=8, experts_per_token=2)
    mlp, router = 4 * 3 * 16 * 24, 4 * 16 * 8
    assert per_token(experts) == per_token(CONFIG) + 6 * (mlp + router)


def test_elements_cost_their_own_share():
    params = abstract_model(CONFIG)[1]
    mask = trainable(params, "layers.mlp.up@3")
    chosen = np.zeros((4, 16, 24), bool)
    chosen[3, :, :5] = True
    few = token_flops(CONFIG, params, {**mask, "layers.mlp.up": elements(chosen)}, LENGTH)
    assert token_flops(CONFIG, params, mask, LENGTH) - few == 2 * 16 * (24 - 5)
