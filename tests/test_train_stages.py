import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import fresh, settings

from saltjax.errors import UserError
from saltjax.train.config import MeshConfig, from_flat, read_config, to_flat
from saltjax.train.mesh import make_mesh
from saltjax.train.run import resolved
from saltjax.train.stages import Stage, in_steps, read_stages, spec_at
from saltjax.train.step import start
from saltjax.train.trainable import trainable

TWO = "stages=[{until: 0.2, train: embeddings}, {until: 50, train: 'layers:0,-1'}]"


def test_stages_from_settings_and_back(tmp_path):
    config = read_config(None, ["steps=100", TWO])
    assert config.stages == (Stage(0.2, "embeddings"), Stage(50, "layers:0,-1"))
    assert from_flat(to_flat(config)) == config
    run = resolved(config)
    assert run.stages == config.phases == (Stage(20, "embeddings"), Stage(50, "layers:0,-1"))
    assert resolved(dataclasses.replace(run, steps=200)).stages == run.stages  # what was done stays what it was


def test_what_learns_at_a_step():
    stages = in_steps(read_stages([{"until": 0.2, "train": "a"}, {"until": 3, "train": "b"}]), 5)
    assert [spec_at(stages, "c", step) for step in range(5)] == ["a", "b", "b", "c", "c"]
    assert read_config(None, ["embeddings_first=7"]).phases == (Stage(7, "embeddings"),)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("stages=3", "not a list"),
        ("stages=[{until: 3}]", "needs until and train"),
        ("stages=[{until: 0, train: full}]", "neither a step"),
        ("stages=[{until: 1.5, train: full}]", "neither a step"),
        ("stages=[{until: 5, train: full}, {until: 5, train: full}]", "until=5 must come after until=5"),
        ("stages=[{until: 0.9, train: full}, {until: 5, train: full}]", "until=5 must come after until=900"),
    ],
)
def test_mistakes(override, says):
    with pytest.raises(UserError, match=says):
        read_config(None, [override])
    with pytest.raises(UserError, match="either it or stages"):
        read_config(None, ["embeddings_first=1", TWO])


def test_moments_go_on_only_where_the_same_layers_learn():
    """Layers 2 and 3 have moments of the same shape as layers 0 and 1, but not theirs."""
    _, params = fresh()
    mesh, config = make_mesh(MeshConfig(1, 1, 1)), settings()
    first, second = trainable(params, "layers:0,1+embeddings"), trainable(params, "layers.mlp.*@0,1+layers.attn.*@2,3")
    state = start(params, first, config, mesh)
    state = state._replace(opt_state=jax.tree.map(jnp.ones_like, state.opt_state))
    opt_state = start(state.params, second, config, mesh, carried=(state, first)).opt_state
    found = {path: float(np.asarray(one[0].mu).mean()) for path, one in opt_state.items()}
    assert set(found) == {f"layers.{name}" for name in ("attn.q", "attn.k", "attn.v", "attn.o")} | {
        f"layers.mlp.{name}" for name in ("gate", "up", "down")
    }
    assert {path for path, mean in found.items() if mean == 1} == {
        f"layers.mlp.{name}" for name in ("gate", "up", "down")
    }
    assert sum(found.values()) == 3
