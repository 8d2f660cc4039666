import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from saltjax.errors import UserError
from saltjax.train.elements import digests
from saltjax.train.neuronsets import chosen
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
        ("layers.mlp.up@0,1+*.down@-1", {"up": (0, 1), "down": (3,)}),
        ("layers.mlp.*@0,1,2,3+layers:0", {"up": True, "down": True, "q": (0,)}),
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
        ("lora", "matches no parameter"),
        ("layers.mlp.up@4", "no layer 4"),
        ("layers.mlp.up@", "layer numbers"),
        ("norm.*@0", "norm.scale has no layers"),
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


def masks(path, **arrays: np.ndarray) -> str:
    save_file({name.replace("_", "."): x for name, x in arrays.items()}, path)
    return f"elements:{path}"


def test_elements_are_cut_out_put_back_and_counted(tmp_path):
    params, rng = tree(), np.random.default_rng(0)
    up, odd = np.zeros((4, 2, 3), bool), rng.random((4, 3, 2)) < 0.4
    up[1, :, 2] = up[3, :, 0] = True  # two neurons: columns of `up`
    table = np.zeros((5, 2), bool)  # of 6 rows, the last one is padding
    table[[0, 4]] = True
    spec = masks(tmp_path / "m", layers_mlp_up=up, layers_mlp_down=odd, embed_table=table, norm_scale=np.zeros(2, bool))
    mask = trainable(params, spec)
    chosen = {"layers.mlp.up": up, "layers.mlp.down": odd, "embed.table": np.pad(table, [(0, 1), (0, 0)])}
    learning = select(params, mask)
    assert {path: x.shape for path, x in learning.items()} == {
        "layers.mlp.up": (2, 2), "layers.mlp.down": (odd.sum(),), "embed.table": (2, 2)
    }  # fmt: skip
    assert count(params, mask) == sum(x.sum() for x in chosen.values())
    moved = dict(leaves(merge(params, {path: x + 1000 for path, x in learning.items()}, mask)))
    for path, x in leaves(params):
        np.testing.assert_array_equal(moved[path], np.asarray(x) + 1000.0 * chosen.get(path, 0), err_msg=path)


def test_elements_join_with_other_parts_but_not_on_one_parameter(tmp_path):
    up = np.zeros((4, 2, 3), bool)
    up[1] = True
    spec = masks(tmp_path / "m", layers_mlp_up=up)
    found = trainable(tree(), f"embeddings+{spec}+layers.mlp.down@0")
    assert (found["embed.table"], found["layers.mlp.down"]) == (True, (0,))
    assert trainable(tree(), f"{spec}+full")["layers.mlp.up"] is True
    with pytest.raises(UserError, match=r"layers\.mlp\.up is in a file of elements and in another part"):
        trainable(tree(), f"{spec}+layers:0")


@pytest.mark.parametrize(
    ("array", "says"),
    [
        ({"layers_mlp_gate": np.ones((4, 2, 3), bool)}, "layers.mlp.gate is not a parameter"),
        ({"layers_mlp_up": np.ones((4, 3, 2), bool)}, r"bool \[4, 3, 2\]; a mask of it is bool \[4, 2, 3\]"),
        ({"layers_mlp_up": np.ones((4, 2, 3), np.int8)}, r"int8 \[4, 2, 3\]; a mask of it is bool"),
    ],
)
def test_mistakes_in_a_file_of_elements_name_it(tmp_path, array, says):
    with pytest.raises(UserError, match=says):
        trainable(tree(), masks(tmp_path / "m", **array))
    with pytest.raises(UserError, match="not a readable safetensors file"):
        trainable(tree(), f"elements:{tmp_path}/none")


def test_files_of_elements_are_told_apart_by_their_content(tmp_path):
    up = np.zeros((4, 2, 3), bool)
    one = masks(tmp_path / "one", layers_mlp_up=up)
    other = masks(tmp_path / "other", layers_mlp_up=~up)
    first, second = digests(["embeddings", f"{one} + layers:0", other])
    assert first != second and len(first) == 64 and digests(["full", "lora"]) == []
    with pytest.raises(UserError, match="none: cannot be read"):
        digests([f"elements:{tmp_path}/none"])


def neurons_file(path, layers=4, size=3) -> str:
    """A neurons.json like that of `neurons find`: two neurons of `de`, one of `vi`, none of `en`."""
    sets = {"de": {"0": [2], "3": [0]}, "vi": {"1": [1]}, "en": {}}
    record = {"method": "lape", "point": "post", "sizes": [size] * layers, "languages": sets}
    path.write_text(json.dumps(record | {"provenance": {"model_sha256": "abc"}}))
    return str(path)


def test_the_neurons_of_a_language_are_columns_of_gate_and_up_and_rows_of_down(tmp_path):
    params = tree()
    params["layers"]["mlp"] |= {"gate": jnp.ones((4, 2, 3)), "up_bias": jnp.ones((4, 3)), "down_bias": jnp.ones((4, 2))}
    file = neurons_file(tmp_path / "neurons.json")
    for spec, pairs in (
        (f"neurons:{file}@de", {(0, 2), (3, 0)}),
        (f"neurons:{tmp_path}@de,vi", {(0, 2), (3, 0), (1, 1)}),
    ):
        mask = trainable(params, spec)
        moved = dict(leaves(merge(params, {path: x + 1000 for path, x in select(params, mask).items()}, mask)))
        learning = 0
        for path, x in leaves(params):
            chosen = np.zeros(x.shape, bool)
            for layer, neuron in pairs:
                if path.endswith(("gate", "up", "up_bias")):
                    chosen[layer, ..., neuron] = True
                elif path.endswith("down"):
                    chosen[layer, neuron] = True
            np.testing.assert_array_equal(moved[path], np.asarray(x) + 1000.0 * chosen, err_msg=path)
            learning += chosen.sum()
        assert count(params, mask) == learning == 7 * len(pairs)


def test_a_control_has_as_many_other_neurons_in_each_layer(tmp_path):
    shapes = {"layers.mlp.up": (4, 2, 30)}
    file = neurons_file(tmp_path / "neurons.json", size=30)
    own, draws = chosen(f"{file}@de", shapes), [chosen(f"{file}@random:de:{i}", shapes) for i in range(3)]
    assert (chosen(f"{file}@random:de", shapes) == draws[0]).all() and (draws[1] != draws[2]).any()
    for draw in draws:
        assert (draw.sum(1) == own.sum(1)).all() and not (draw & own).any()


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ("@fr", "there are no neurons of 'fr'; there are those of de, vi, en"),
        ("@en", "en has no neuron of its own; find more of them with a larger --rate"),
        ("", "write FILE@LANG"),
        ("@random:de:x", "the number of a draw is whole, as in random:de:1"),
    ],
)
def test_mistakes_in_a_choice_of_neurons(tmp_path, choice, says):
    file = neurons_file(tmp_path / "neurons.json")
    with pytest.raises(UserError, match=says):
        trainable(tree(), f"neurons:{file}{choice}")


def test_neurons_of_another_model_are_refused(tmp_path):
    file = neurons_file(tmp_path / "neurons.json", size=5)
    with pytest.raises(UserError, match="4 layers of 5 neurons, but the model has 4 of 3; they were found in another"):
        trainable(tree(), f"neurons:{file}@de")
    with pytest.raises(UserError, match="none: missing"):
        trainable(tree(), f"neurons:{tmp_path / 'none'}@de")
    (tmp_path / "neurons.json").write_text('{"sizes": [3]}')
    with pytest.raises(UserError, match="damaged"):
        trainable(tree(), f"neurons:{file}@de")
    experts = {"layers": {"moe": {"up": jnp.ones((2, 2, 2, 3))}}}
    with pytest.raises(UserError, match="mixture of experts"):
        trainable(experts, f"neurons:{neurons_file(tmp_path / 'n')}@de")
