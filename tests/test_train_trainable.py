import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saltjax.errors import UserError
from saltjax.train.sharding import leaves
from saltjax.train.trainable import count, merge, select, trainable


def tree(head=True):
    params = {
        "embed": {"table": jnp.arange(12.0).reshape(6, 2)},
        "layers": {
            "attn": {"q": jnp.arange(32.0).reshape(4, 2, 2, 2)},
            "mlp": {"up": jnp.arange(24.0).reshape(4, 2, 3), "down": jnp.arange(24.0).reshape(4, 3, 2)},
        },
        "norm": {"scale": jnp.ones(2)},
    }
    return {**params, "head": {"table": jnp.ones((6, 2))}} if head else params


@pytest.mark.parametrize(
    ("spec", "learns"),
    [
        ("full", dict.fromkeys(("embed", "head", "q", "up", "down", "norm"), True)),
        ("embeddings", {"embed": True, "head": True}),
        ("layers:0,1,-1", dict.fromkeys(("q", "up", "down"), (0, 1, 3))),
        ("layers:3,3,-1", dict.fromkeys(("q", "up", "down"), (3,))),
        ("layers:0,1,2,3", dict.fromkeys(("q", "up", "down"), True)),
        ("layers.mlp.*", {"up": True, "down": True}),
        ("embeddings+layers:0", {"embed": True, "head": True, "q": (0,), "up": (0,), "down": (0,)}),
        ("layers:0+layers:2+*.up", {"q": (0, 2), "up": True, "down": (0, 2)}),
    ],
)
def test_specs(spec, learns):
    names = {
        "embed": "embed.table", "head": "head.table", "q": "layers.attn.q",
        "up": "layers.mlp.up", "down": "layers.mlp.down", "norm": "norm.scale",
    }  # fmt: skip
    assert trainable(tree(), spec) == {path: learns.get(name, False) for name, path in names.items()}


def test_tied_models_have_no_head_to_train():
    mask = trainable(tree(head=False), "embeddings")
    assert [path for path, learns in mask.items() if learns] == ["embed.table"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("layers:4", "no layer 4; the model has layers 0 to 3"),
        ("layers:-5", "no layer -5"),
        ("layers:a", "layer numbers"),
        ("layers:", "layer numbers"),
        ("everything", "matches no parameter"),
        ("", "matches no parameter"),
        ("lora", "not there yet"),
    ],
)
def test_mistakes(spec, says):
    with pytest.raises(UserError, match=says):
        trainable(tree(), spec)


@pytest.mark.parametrize("spec", ["full", "embeddings", "layers:0,-1", "embeddings+layers:1"])
def test_merge_puts_back_what_select_cut_out_and_touches_nothing_else(spec):
    params = tree()
    mask = trainable(params, spec)
    learning = select(params, mask)
    assert sum(x.size for x in learning.values()) == count(params, mask)
    same = merge(params, learning, mask)
    jax.tree.map(np.testing.assert_array_equal, same, params)
    moved = dict(leaves(merge(params, {path: x + 1000 for path, x in learning.items()}, mask)))
    for path, x in leaves(params):
        learns = mask[path]
        layers = range(len(x)) if learns is True else learns or ()
        for i in range(len(x)):
            np.testing.assert_array_equal(moved[path][i], x[i] + (1000 if i in layers else 0))
