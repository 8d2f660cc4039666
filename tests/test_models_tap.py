"""Looking at neurons: what the tap sees is what PyTorch's MLP computes, and the model without it is as it was."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saltjax.errors import UserError
from saltjax.models import hidden_states, load_model
from saltjax.models.decoder import tapped
from saltjax.models.tap import Tap

torch = pytest.importorskip("torch")
import zoo_decoders  # noqa: E402

# Where PyTorch's modules have the three points: (what the activation takes and gives, what goes into `down`).
MODULES = {
    "llama": ("mlp.act_fn", "mlp.down_proj"),
    "gemma2": ("mlp.act_fn", "mlp.down_proj"),
    "gpt2": ("mlp.act", "mlp.c_proj"),
}


def inputs(seed=0):
    tokens = np.random.default_rng(seed).integers(10, zoo_decoders.VOCAB, (2, 9)).astype(np.int32)
    return tokens, np.broadcast_to(np.arange(9, dtype=np.int32), (2, 9)), np.ones((2, 9), np.int32)


@partial(jax.jit, static_argnums=(0, 5))
def seen(graphdef, params, tokens, positions, segments, point, scale):
    tap = Tap(point, lambda h, own: (h, own), scale)
    return tapped(graphdef, params, tokens, positions, segments, jnp.float32, tap)


@pytest.mark.parametrize("name", MODULES)
def test_the_three_points_are_pytorchs(tmp_path, name):
    reference = zoo_decoders.make(name, tmp_path / "m")
    model, caught = load_model(tmp_path / "m"), {"pre": [], "post": [], "product": []}
    layers = reference.transformer.h if name == "gpt2" else reference.model.layers
    for layer in layers:
        act, down = (layer.get_submodule(path) for path in MODULES[name])
        act.register_forward_pre_hook(lambda _, args: caught["pre"].append(args[0]))
        act.register_forward_hook(lambda _, args, out: caught["post"].append(out))
        down.register_forward_pre_hook(lambda _, args: caught["product"].append(args[0]))
    with torch.no_grad():
        reference(torch.from_numpy(inputs()[0]).long())
    number = jnp.arange(model.config.layers)
    for point, theirs in caught.items():
        _, (ours, own) = seen(model.graphdef, model.params, *inputs(), point, number)
        assert np.abs(np.asarray(ours) - torch.stack(theirs).reshape(ours.shape).numpy()).max() < 1e-4
        assert np.array_equal(own, number)  # every layer gets its own slice


def test_a_tap_changes_nothing(tmp_path):
    zoo_decoders.make("llama", tmp_path / "m")
    model = load_model(tmp_path / "m")
    plain = jax.jit(hidden_states, static_argnums=0)(model.graphdef, model.params, *inputs())
    hidden, _ = seen(model.graphdef, model.params, *inputs(), "post", jnp.arange(model.config.layers))
    assert np.abs(np.asarray(hidden) - np.asarray(plain)).max() < 1e-6


def test_without_a_tap_no_neuron_is_kept(tmp_path):
    """The compiled model's memory does not hold [L, b, t, f], nor its results anything but the hidden states."""
    zoo_decoders.make("llama", tmp_path / "m")
    model = load_model(tmp_path / "m")
    shapes = [jax.ShapeDtypeStruct((8, 64), jnp.int32)] * 3

    def memory(function):
        compiled = jax.jit(function).lower(model.params, *shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes + compiled.memory_analysis().output_size_in_bytes

    plain = memory(partial(hidden_states, model.graphdef))
    kept = 3 * 8 * 64 * model.config.mlp_size * 4
    summed = memory(lambda *args: tapped(model.graphdef, *args, jnp.float32, Tap("post", lambda h, _: h.sum((0, 1)))))
    stored = memory(lambda *args: tapped(model.graphdef, *args, jnp.float32, Tap("post", lambda h, _: h)))
    assert stored > plain + 0.9 * kept
    assert summed < plain + 0.3 * kept


def test_experts_have_no_neurons_yet(tmp_path):
    zoo_decoders.make("mixtral", tmp_path / "m")
    model = load_model(tmp_path / "m")
    with pytest.raises(UserError, match="the model has 5 experts a layer"):
        seen(model.graphdef, model.params, *inputs(), "post", None)
