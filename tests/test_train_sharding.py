import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from saltjax.errors import UserError
from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import abstract_model
from saltjax.train import optimiser
from saltjax.train.config import AdaptConfig, MeshConfig
from saltjax.train.mesh import check_batch, make_mesh
from saltjax.train.sharding import leaves, nested, opt_shardings, param_shardings, replicated_notes, rule
from saltjax.train.trainable import trainable

SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "layers": 3,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 4,
    "mlp_size": 32,
    "max_positions": 32,
}


def abstract(**changes):
    return abstract_model(DecoderConfig(**{**SIZES, **changes}))[1]


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        (MeshConfig(), (1, 8, 1)),
        (MeshConfig(tensor=2), (1, 4, 2)),
        (MeshConfig(-1, 1, 2), (4, 1, 2)),
        (MeshConfig(2, 2, 2), (2, 2, 2)),
        (MeshConfig(1, 2, 1), (1, 2, 1)),  # the first devices
    ],
)
def test_mesh_sizes(config, sizes):
    mesh = make_mesh(config)
    assert tuple(mesh.shape.values()) == sizes
    assert mesh.axis_names == ("data", "fsdp", "tensor")
    assert all(kind == jax.sharding.AxisType.Auto for kind in mesh.axis_types)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (MeshConfig(4, 4, 1), ("16", "8")),
        (MeshConfig(3, -1, 1), ("3", "8")),
        (MeshConfig(16, -1, 1), ("16", "8")),
        (MeshConfig(-1, -1, 1), ("only one",)),
    ],
)
def test_a_mesh_that_does_not_fit_names_both_numbers(config, says):
    with pytest.raises(UserError) as error:
        make_mesh(config)
    assert all(number in str(error.value) for number in says)


def test_a_batch_that_does_not_divide_says_how_to_mend_it():
    mesh = make_mesh(MeshConfig(2, 4, 1))
    check_batch(mesh, 16)
    with pytest.raises(UserError, match=r"batch_size=12 .* 8 devices .* batch_size=16, or mesh\.data=1 mesh\.fsdp=4"):
        check_batch(mesh, 12)


@pytest.mark.parametrize("switches", [{}, {"tie_embeddings": True}, {"attention_bias": True, "mlp_bias": True}])
def test_every_parameter_has_a_rule_and_big_ones_are_split_over_the_whole_mesh(switches):
    params = abstract(**switches)
    mesh = make_mesh(MeshConfig(1, 4, 2))
    for path, sharding in leaves(param_shardings(params, mesh)):
        assert path
        x = dict(leaves(params))[path]
        part = sharding.shard_shape(x.shape)
        if x.size >= 16 * 16:
            assert x.size == 8 * jnp.prod(jnp.array(part)), path
    assert replicated_notes(params, mesh) == []


def test_a_parameter_without_a_rule_raises():
    with pytest.raises(ValueError, match=r"layers\.experts\.gate"):
        rule("layers.experts.gate")


def test_what_does_not_divide_is_kept_whole_and_said():
    params = abstract(kv_heads=1)
    mesh = make_mesh(MeshConfig(1, 4, 2))
    where = dict(leaves(param_shardings(params, mesh)))
    assert where["layers.attn.k"].spec == P(None, "fsdp", None, None)
    assert [note.split(":")[0] for note in replicated_notes(params, mesh)] == ["layers.attn.k", "layers.attn.v"]


def test_paths_round_trip():
    params = abstract()
    assert nested(dict(leaves(params))) == params


@pytest.mark.parametrize("spec", ["full", "layers:0,2", "embeddings"])
def test_moments_lie_where_their_parameter_lies(spec):
    params = abstract()
    mesh = make_mesh(MeshConfig(1, 4, 2))
    mask = trainable(params, spec)
    states = jax.eval_shape(lambda p: optimiser.init(p, mask, AdaptConfig()), params)
    where = dict(leaves(param_shardings(params, mesh)))
    found = opt_shardings(states, params, mesh)
    assert set(found) == {path for path, learns in mask.items() if learns}
    for path, state in found.items():
        assert state[0].mu.spec == where[path].spec and state[0].nu.spec == where[path].spec
        assert state[0].count.spec == P()
