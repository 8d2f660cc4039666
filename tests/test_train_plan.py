"""A plan is read from the program itself: what it counts is checked against programs whose counts are known."""

import importlib.util
import json
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import pytest
import training
import zoo
from jax.sharding import PartitionSpec as P

from saltjax import api
from saltjax.errors import UserError
from saltjax.models.config import DecoderConfig
from saltjax.train.collectives import collectives
from saltjax.train.config import MeshConfig
from saltjax.train.mesh import make_mesh
from saltjax.train.plan import plan, suggestions

SIZES = training.SIZES | {"vocab_size": 256, "hidden_size": 32, "mlp_size": 64}


def compiled(function, *shapes):
    return jax.jit(function).lower(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)).compile()


def test_collectives_are_counted_through_loops():
    mesh = make_mesh(MeshConfig(2, 4, 1))

    @partial(jax.shard_map, mesh=mesh, in_specs=P("fsdp"), out_specs=P("fsdp"))
    def function(x):  # [6, 8] here
        def inner(x, _):
            return x + jax.lax.psum(x, "fsdp") * 0.5, None

        def outer(x, _):
            x, _ = jax.lax.scan(inner, x, None, length=3)
            return jnp.tanh(jax.lax.ppermute(x, "fsdp", [(0, 1), (1, 0)])), None

        with jax.named_scope("layers"):
            x, _ = jax.lax.scan(outer, x, None, length=5)
        whole = jax.lax.all_gather(x, "fsdp", tiled=True)  # [24, 8]
        return jax.lax.psum_scatter(jnp.tanh(whole), "fsdp", tiled=True)

    found = {one.kind: one for one in collectives(compiled(function, (24, 8)).as_text())}
    assert {kind: (one.times, one.where, one.bytes) for kind, one in found.items()} == {
        "all-reduce": (15, "layers", 6 * 8 * 4),
        "collective-permute": (5, "layers", 6 * 8 * 4),
        "all-gather": (1, "outside", 24 * 8 * 4),
        "reduce-scatter": (1, "outside", 24 * 8 * 4),
    }
    assert {one.group for kind, one in found.items() if kind != "collective-permute"} == {4}
    assert found["all-reduce"].sent == 15 * 2 * 3 / 4 * 192


@pytest.fixture(scope="module")
def planned():
    settings = training.settings("batch_size=16", "seq_len=32", "remat=block", "compute_dtype=float32")
    return plan(DecoderConfig(**SIZES), settings, jax.devices())


def test_a_plan_holds_what_the_state_takes_and_finds_no_fault(planned):
    assert planned["mesh"] == {"data": 1, "fsdp": 8, "tensor": 1} and planned["chips"] == 8
    norms = 9 * 32  # replicated: two a layer and the last one
    split = (planned["parameters"] - norms) // 8 + norms
    assert planned["bytes_per_chip"]["parameters"] == 4 * split
    assert planned["bytes_per_chip"]["optimizer"] == pytest.approx(8 * split, rel=0.02)
    assert planned["learning"] == planned["parameters"]
    assert planned["fits"] is None and planned["estimate"] is None
    assert planned["suspicious"] == [] and planned["suggestions"] == []


def test_the_vocabulary_is_gathered_once_and_its_gradient_scattered_once(planned):
    """And layers are gathered within their loop: once forward, once more for the backward pass."""
    table = 256 * 32 * 4
    outside = [(one["kind"], one["times"]) for one in planned["collectives"] if one["bytes"] >= table]
    assert sorted(outside) == [("all-gather", 1), ("reduce-scatter", 1)]
    assert all(one["where"] != "loss" for one in planned["collectives"])
    matrix = f"f32[{SIZES['hidden_size']},{SIZES['mlp_size']}]"
    times = sum(
        one["times"] for one in planned["collectives"] if one["shape"] == matrix and one["kind"] == "all-gather"
    )
    assert times == 2 * 2 * SIZES["layers"]  # gate and up have this shape


def test_the_phase_with_the_most_that_learns_is_planned():
    settings = training.settings("trainable=layers:-1", "embeddings_first=5", "compute_dtype=float32")
    found = plan(DecoderConfig(**SIZES), settings, jax.devices()[:1])
    assert found["trainable"] == "embeddings" and found["learning"] == 2 * 256 * 32


def test_suggestions_name_what_is_not_done_yet():
    mesh = make_mesh(MeshConfig(2, 4, 1))
    memory = {"parameters": 4 << 30, "optimizer": 8 << 30, "limit": 16 << 30}
    found = suggestions(training.settings("batch_size=32"), mesh, memory)
    assert found[0] == "mesh.data=1 mesh.fsdp=8: 6.0 GiB less state"
    assert [line.partition(":")[0] for line in found[1:4]] == ["remat=block", "accumulate=4", "moments_dtype=bfloat16"]
    done = training.settings("batch_size=8", "remat=block", "optimizer=adafactor")
    named = [line.partition("=")[0] for line in suggestions(done, mesh, memory)]
    assert not {"remat", "accumulate", "moments_dtype"} & set(named)


@pytest.mark.parametrize(
    ("where", "says"),
    [("v5e-16", "v5e:4x4"), ("gpu:8", "v5e:4x4"), ("cpu:99", "xla_force_host_platform_device_count=99")],
)
def test_a_wrong_slice_says_how_to_write_it(tmp_path, where, says):
    zoo.llama(tmp_path / "llm")
    with pytest.raises(UserError, match=says):
        api.plan(tmp_path / "llm", where, overrides=["seq_len=32"])


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed")
def test_without_libtpu_the_extra_is_named(tmp_path):
    zoo.llama(tmp_path / "llm")
    with pytest.raises(UserError, match=r"saltjax\[tpu\]"):
        api.plan(tmp_path / "llm", "v5e:4x4", overrides=["seq_len=32"])


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_a_tpu_slice_is_planned_from_a_config_alone(tmp_path):
    sizes = {"hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
    config = sizes | {"model_type": "llama", "vocab_size": 32000, "max_position_embeddings": 2048}
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "saltjax", "adapt", str(tmp_path), "RUN", "batch_size=4", "--plan", "v5e:2x2"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["fits"] and found["chip"] == "TPU v5e" and found["chips"] == 4 and found["suspicious"] == []
    assert found["estimate"]["tokens_per_second"] > 0
