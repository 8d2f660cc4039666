"""Training of some neurons only: the update is that of W + s A (m * B), or of m * gradient, and the rest stays."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from safetensors.numpy import load_file
from test_train_lora import ONE
from training import batch, fresh, settings, stored

from saltjax.errors import UserError
from saltjax.neurons.files import write_neurons
from saltjax.train.config import MeshConfig
from saltjax.train.forward import decoder_forward
from saltjax.train.lora import merged, with_adapters
from saltjax.train.mesh import make_mesh
from saltjax.train.run import read
from saltjax.train.sharding import leaves, nested
from saltjax.train.step import global_batch, make_step, start
from saltjax.train.trainable import trainable

STEPS, RATE, BETAS, EPS = 3, 1e-2, (0.9, 0.95), 1e-8
PLAIN = ("schedule=constant", "warmup_steps=0", "weight_decay=0", "clip_norm=0", f"learning_rate={RATE}")
NEURONS = {"de": {"0": [3, 30], "2": [0, 7, 8]}, "vi": {"3": [5]}}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("neurons") / "neurons.json"
    path.write_text(json.dumps({"method": "lape", "point": "post", "sizes": [32] * 4, "languages": NEURONS}))
    return path


def mask_of(language="de"):
    mask = np.zeros((4, 32), np.float32)
    for layer, own in NEURONS[language].items():
        mask[int(layer), own] = 1
    return mask


def loss_of(params, rows):
    """Mean negative log-likelihood of the targets, by the plain forward pass."""
    plain = decoder_forward(stored()[0], jnp.float32)
    inputs = [jnp.asarray(rows[name]) for name in ("tokens", "positions", "segments")]
    valid = (rows["segments"][:, 1:] == rows["segments"][:, :-1]) & (rows["segments"][:, 1:] > 0)
    scores = jax.nn.log_softmax(plain.logits(params, plain.hidden(params, *inputs)))[:, :-1]
    return -(jnp.take_along_axis(scores, inputs[0][:, 1:, None], -1)[..., 0] * valid).sum() / valid.sum()


def adam(values, gradient, masks):
    """STEPS of Adam in float64 on {path: value}, where `gradient` is told values and the number of the step; what a
    mask is 0 for stays."""
    first = {path: np.zeros(x.shape) for path, x in values.items()}
    second = {path: np.zeros(x.shape) for path, x in values.items()}
    values = {path: np.asarray(x, np.float64) for path, x in values.items()}
    for step in range(1, STEPS + 1):
        found = gradient({path: np.float32(x) for path, x in values.items()}, step)
        for path, mask in masks.items():
            grad = np.asarray(found[path], np.float64) * mask
            first[path] = BETAS[0] * first[path] + (1 - BETAS[0]) * grad
            second[path] = BETAS[1] * second[path] + (1 - BETAS[1]) * grad**2
            mean, square = first[path] / (1 - BETAS[0] ** step), second[path] / (1 - BETAS[1] ** step)
            values[path] = values[path] - RATE * mean / (np.sqrt(square) + EPS) * mask
    return values


def trained(spec, *overrides, mesh=ONE):
    """Parameters before and after STEPS steps of ours, the last loss, and the numbers that have moments."""
    config = settings(f"trainable={spec}", *PLAIN, *overrides)
    before = jax.tree.map(np.asarray, with_adapters(fresh()[1], config))
    mask = trainable(before, spec)
    forward = decoder_forward(stored()[0], jnp.float32, lora_scale=config.lora.scale)
    state = start(jax.tree.map(jnp.array, before), mask, config, mesh)
    step = make_step(forward, mask, config, mesh, state)
    for number in range(1, STEPS + 1):
        state, metrics = step(state, global_batch(batch(number), mesh))
    moments = sum(x.mu.size for one in state.opt_state.values() for x in one[:1])
    return before, jax.tree.map(np.asarray, state.params), float(metrics["loss"]), moments, config


def test_neurons_learn_as_with_a_masked_gradient_and_nothing_else_moves(file):
    flat, mask = dict(leaves(stored()[1])), mask_of()
    masks = {f"layers.mlp.{name}": mask[:, None] + 0 * flat[f"layers.mlp.{name}"] for name in ("gate", "up")}
    masks["layers.mlp.down"] = mask[..., None] + 0 * flat["layers.mlp.down"]
    slope = jax.jit(jax.grad(lambda values, rows: loss_of(nested(values), rows)))
    expected = adam(flat, lambda values, number: slope(values, batch(number)), masks)
    for mesh in ((1, 1, 1), (1, 2, 2)):
        before, after, _, moments, _ = trained(f"neurons:{file}@de", mesh=make_mesh(MeshConfig(*mesh)))
        found = dict(leaves(after))
        for path, x in leaves(before):
            frozen = masks.get(path, np.zeros(x.shape)) == 0
            np.testing.assert_array_equal(found[path][frozen], x[frozen], err_msg=path)
            np.testing.assert_allclose(found[path], expected[path], atol=2e-5, err_msg=path)
            assert (found[path] != x)[~frozen].all()
        assert moments == 5 * 3 * 16


def test_masked_adapters_learn_as_a_times_the_masked_b_and_merge_exactly(file):
    targets = "lora.targets=layers.mlp.*+layers.attn.q"
    before, after, loss, _, config = trained(f"lora:{file}@de", "lora.rank=2", "lora.alpha=6", targets)
    flat, mask = dict(leaves(before)), mask_of()
    adapters = {path: x for path, x in flat.items() if path.startswith("lora.")}
    base = {path: jnp.asarray(x) for path, x in flat.items() if path not in adapters}
    sides = {"lora.layers.mlp.gate.b": mask[:, None], "lora.layers.mlp.up.b": mask[:, None],
             "lora.layers.mlp.down.a": mask[..., None]}  # fmt: skip

    def masked(values):
        """The model with W + 3 (a * ma) (b * mb)."""
        whole = dict(base)
        for path in base:
            if f"lora.{path}.a" in values:
                a, b = (values[f"lora.{path}.{side}"] * sides.get(f"lora.{path}.{side}", 1.0) for side in "ab")
                whole[path] = base[path] + 3.0 * jnp.stack([jnp.tensordot(*one, 1) for one in zip(a, b, strict=True)])
        return nested(whole)

    slope = jax.jit(jax.value_and_grad(lambda values, rows: loss_of(masked(values), rows)))
    losses = []

    def gradient(values, number):
        value, found = slope(values, batch(number))
        losses.append(float(value))
        return found

    everywhere = {path: np.ones(x.shape) * sides.get(path, 1.0) for path, x in adapters.items()}
    expected = adam(adapters, gradient, everywhere)
    found = dict(leaves(after))
    assert loss == pytest.approx(losses[-1], rel=1e-5)
    for path, x in flat.items():
        if path not in adapters:
            np.testing.assert_array_equal(found[path], x, err_msg=path)
            continue
        frozen = everywhere[path] == 0
        assert (found[path][frozen] == 0).all() and (x[frozen] == 0).all(), path
        np.testing.assert_allclose(found[path], expected[path], atol=5e-5, err_msg=path)
    whole = {path: np.asarray(x) for path, x in leaves(merged(after, config))}
    for path, frozen in (("gate", mask[:, None] == 0), ("up", mask[:, None] == 0), ("down", mask[..., None] == 0)):
        own, old = whole[f"layers.mlp.{path}"], base[f"layers.mlp.{path}"]
        frozen = np.broadcast_to(frozen, own.shape)
        np.testing.assert_array_equal(own[frozen], old[frozen])
        assert (own != old)[~frozen].all()
    adapted = decoder_forward(stored()[0], jnp.float32, lora_scale=config.lora.scale)
    plain, rows = decoder_forward(stored()[0], jnp.float32), batch(0)
    inputs = [jnp.asarray(rows[name]) for name in ("tokens", "positions", "segments")]
    valid = rows["segments"] > 0
    np.testing.assert_allclose(
        np.asarray(adapted.hidden(jax.tree.map(jnp.asarray, after), *inputs))[valid],
        np.asarray(plain.hidden(merged(jax.tree.map(jnp.asarray, after), config), *inputs))[valid],
        atol=1e-5,
    )


def test_adapters_have_one_mask_a_run(file):
    with pytest.raises(UserError, match="for the same neurons in all stages, not lora, lora:"):
        settings(f"trainable=lora:{file}@de", "stages=[{until: 5, train: lora}]")
    assert settings(f"trainable=lora:{file}@de+embeddings").has_adapters


def test_adapters_of_the_attention_alone_are_not_those_of_neurons(file):
    config = settings(f"trainable=lora:{file}@de", "lora.targets=layers.attn.[qv]")
    with pytest.raises(UserError, match=r"no neuron would learn; lora\.targets needs one of the MLP"):
        trainable(with_adapters(stored()[1], config), config.trainable)


def test_trained_and_exported(tmp_path, saltjax):
    zoo.llama(tmp_path / "m", dtype="float32", initializer_range=0.3)
    text = tmp_path / "vi.txt"
    text.write_text("\n".join(zoo.sentences("vi", 60)))
    chosen = np.random.default_rng(0).random((2, 2, 48)) < 0.2
    (tmp_path / "n").mkdir()
    write_neurons(tmp_path / "n", "lape", "post", ["de", "vi"], chosen, {"model_sha256": "abc"})
    tiny = ("seq_len=16", "batch_size=8", "steps=2", "warmup_steps=0", "learning_rate=1e-2")
    adapt = ("adapt", tmp_path / "m", tmp_path / "run", "--text", text, *tiny)
    status, _, err = saltjax(*adapt, f"trainable=lora:{tmp_path / 'n'}@vi", "lora.targets=layers.mlp.gate", "--json")
    assert status == 0, err
    (origin,) = read(tmp_path / "run").inputs["neurons"]
    assert origin | {"sha256": 64} == {
        "choice": f"{tmp_path / 'n'}@vi", "sha256": 64, "method": "lape", "point": "post", "model_sha256": "abc",
    }  # fmt: skip
    assert len(origin["sha256"]) == 64
    status, out, err = saltjax("export", tmp_path / "run", tmp_path / "out", "--json")
    assert status == 0, err
    assert json.loads(out)["max_abs_logit_difference"] < 1e-3
    own = {str(layer): np.flatnonzero(mask).tolist() for layer, mask in enumerate(chosen[1])}
    old, new = (load_file(tmp_path / name / "model.safetensors") for name in ("m", "out"))
    for name, before in old.items():
        moved = (new[name] != before).any(axis=1) if before.ndim > 1 else new[name] != before
        layer = name.split(".")[2] if name.endswith("gate_proj.weight") else ""
        assert np.flatnonzero(moved).tolist() == (own[layer] if layer else []), name
    status, _, err = saltjax(*adapt[:2], tmp_path / "other", *adapt[3:], f"trainable=neurons:{tmp_path / 'n'}@fr")
    assert status == 2 and "there are no neurons of 'fr'" in err and not (tmp_path / "other").exists()
    status, _, err = saltjax(
        "neurons", "tune", tmp_path / "m", tmp_path / "tuned", tmp_path / "n", "vi", "--text", text, *tiny,
        "lora.targets=layers.mlp.gate", "--json",
    )  # fmt: skip
    assert status == 0, err
    assert read(tmp_path / "tuned").config == read(tmp_path / "run").config
    status, _, err = saltjax("neurons", "tune", tmp_path / "m", tmp_path / "no", tmp_path / "n", "vi")
    assert status == 2 and "--data FILE" in err
