"""Every decoder family against transformers' eager PyTorch model, in float32 and both ways."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from zoo_decoders import VOCAB, ZOO, make

from saltjax.errors import UserError
from saltjax.models import (
    abstract_model,
    export_tensors,
    family_of,
    hidden_states,
    load_model,
    logits,
    random_model,
)
from saltjax.train.config import MeshConfig
from saltjax.train.mesh import make_mesh
from saltjax.train.sharding import leaves, param_shardings, rule

torch = pytest.importorskip("torch")
load_file = pytest.importorskip("safetensors.numpy").load_file
transformers = pytest.importorskip("transformers")

LENGTH = 40
PIECES = [[40], [23], [9, 25], [17, 20]]  # longer than any window; padded; packed and padded; packed


def batch():
    """tokens, positions, segments [4, 40], and (row, start, tokens) of each piece. Ids below 10 are special."""
    rng = np.random.default_rng(0)
    tokens, positions, segments = (np.zeros((len(PIECES), LENGTH), np.int32) for _ in range(3))
    pieces = []
    for row, lengths in enumerate(PIECES):
        at = 0
        for number, length in enumerate(lengths, start=1):
            where = slice(at, at + length)
            tokens[row, where] = rng.integers(10, VOCAB, length)
            positions[row, where], segments[row, where] = np.arange(length), number
            pieces.append((row, at, tokens[row, where]))
            at += length
    return (tokens, positions, segments), pieces


def loss_and_logits(params, inputs, model, **options):
    """The summed cross entropy of every token that follows another one of its piece, and all logits."""
    tokens, positions, segments = inputs
    hidden = hidden_states(model.graphdef, params, tokens, positions, segments, **options)
    scores = logits(model.config, params, hidden)
    following = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)
    each = jnp.take_along_axis(jax.nn.log_softmax(scores[:, :-1]), tokens[:, 1:, None], axis=-1)[..., 0]
    return -jnp.where(following, each, 0.0).sum(), scores


def exported(model, params):
    return dict(export_tensors(model.config, params, model.dtypes))


@pytest.fixture(scope="module", params=ZOO)
def pair(request, tmp_path_factory):
    """One family: a directory, what PyTorch makes of it and what we make of it."""
    path = tmp_path_factory.mktemp(request.param)
    reference = make(request.param, path)
    inputs, pieces = batch()
    expected = [reference(torch.as_tensor(piece[None]).long(), use_cache=False).logits[0] for *_, piece in pieces]
    losses = [
        torch.nn.functional.cross_entropy(scores[:-1], torch.as_tensor(piece[1:]).long(), reduction="sum")
        for scores, (*_, piece) in zip(expected, pieces, strict=True)
    ]
    sum(losses).backward()
    with torch.no_grad():  # so that the gradients are stored under the names of the tensors
        for parameter in reference.parameters():
            parameter.copy_(parameter.grad)
    reference.save_pretrained(path / "gradients")
    model = load_model(path)
    step = jax.jit(jax.value_and_grad(partial(loss_and_logits, model=model, remat="block"), has_aux=True))
    (loss, scores), gradients = step(model.params, inputs)
    return SimpleNamespace(
        name=request.param, path=path, model=model, inputs=inputs, loss=float(loss), expected_loss=sum(losses).item(),
        pieces=[(np.asarray(scores[row, at : at + len(piece)]), theirs.detach().numpy())
                for (row, at, piece), theirs in zip(pieces, expected, strict=True)],
        finite=bool(jnp.isfinite(scores).all()), gradients=exported(model, gradients),
    )  # fmt: skip


def test_logits_of_long_padded_and_packed_inputs_equal_each_piece_alone(pair):
    assert pair.finite
    for ours, theirs in pair.pieces:
        assert np.abs(ours - theirs).max() < 1e-4


def test_loss_and_gradients_equal_pytorch(pair):
    assert abs(pair.loss - pair.expected_loss) < 1e-5 * pair.expected_loss
    expected = load_file(pair.path / "gradients" / "model.safetensors")
    assert pair.gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        largest = np.abs(gradient).max()  # 0 but for rounding where softmax does not see a key's bias
        assert largest > 1e-3 or (pair.name == "xglm" and name.endswith("k_proj.bias")), name
        atol = 2e-5 * largest + 1e-6
        np.testing.assert_allclose(pair.gradients[name], gradient, atol=atol, rtol=1e-3, err_msg=name)


def test_export_is_what_was_loaded_bit_for_bit(pair):
    stored = load_file(pair.path / "model.safetensors")
    ours = exported(pair.model, pair.model.params)
    assert ours.keys() == stored.keys()
    for name, array in stored.items():
        assert ours[name].dtype == array.dtype and ours[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("pair", ["olmo2", "gemma2", "gemma3", "gpt2", "qwen3_moe"], indirect=True, scope="module")
def test_a_mesh_equals_one_device(pair):
    mesh = make_mesh(MeshConfig(2, 2, 2))
    model = load_model(pair.path, partial(param_shardings, mesh=mesh), pad_vocab_to=8)
    parts = {"attn.q", *(("moe.up",) if model.config.experts else ("mlp.up",))}
    for path in parts:
        room, name = path.split(".")
        leaf = model.params["layers"][room][name]
        assert leaf.addressable_shards[0].data.size * 4 == leaf.size, path
    rows = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    options = {"model": model, "constrain": partial(jax.lax.with_sharding_constraint, shardings=rows)}
    step = jax.jit(jax.value_and_grad(partial(loss_and_logits, **options), has_aux=True))
    (loss, _), gradients = step(model.params, jax.device_put(pair.inputs, rows))
    assert abs(float(loss) - pair.loss) < 1e-5 * pair.loss
    for name, gradient in exported(model, gradients).items():
        atol = 2e-5 * np.abs(gradient).max()
        np.testing.assert_allclose(gradient, pair.gradients[name], atol=atol, rtol=1e-3, err_msg=name)


@pytest.mark.parametrize("name", ZOO)
def test_fresh_norms_and_biases_are_those_of_transformers_and_shapes_agree(name):
    """Same names and shapes as the stored tensors; norms multiply by one, whatever is stored for it."""
    hf = ZOO[name].config()
    fresh = transformers.AutoModelForCausalLM.from_config(hf).state_dict()
    fresh = {key.removeprefix("transformer."): value for key, value in fresh.items()}
    model = random_model(family_of(hf).decoder_config(hf), 0)
    ours = exported(model, model.params)
    fixed = 0
    for key in ours.keys() & fresh.keys():
        assert ours[key].shape == tuple(fresh[key].shape), key
        if "norm" in key or "ln_" in key or key.endswith("bias"):
            fixed += 1
            np.testing.assert_array_equal(ours[key], fresh[key].numpy(), err_msg=key)
        else:
            assert 0.001 < ours[key].std() < 0.03, key
    assert fixed


@pytest.mark.parametrize("name", ZOO)
def test_every_parameter_has_a_sharding_rule_with_an_axis_for_each_dimension(name):
    hf = ZOO[name].config()
    for path, leaf in leaves(abstract_model(family_of(hf).decoder_config(hf))[1]):
        assert len(rule(path)) in (0, leaf.ndim), path


@pytest.mark.parametrize("name", ZOO)
def test_every_field_of_the_configuration_class_is_looked_at(name):
    hf = ZOO[name].config()
    declared = set(type(hf)().to_dict()) - set(transformers.PreTrainedConfig().to_dict())
    assert declared - family_of(hf).known == set()


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [
        ("mistral", {"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ("qwen2", {"layer_types": ["chunked_attention", "full_attention", "full_attention"]}, "chunked_attention"),
        ("qwen3", {"layer_types": ["sliding_attention", "full_attention", "full_attention"]}, "needs a window"),
        ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention=True"),
        ("gemma2", {"hidden_activation": "gelu"}, "hidden_activation='gelu'"),
        ("gemma3", {"attn_logit_softcapping": 30.0}, r"attn_logit_softcapping=30\.0"),
        (
            "gemma3",
            {"rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
            }},
            "sliding_attention=.*only unscaled",
        ),
        (
            "phi3-longrope",
            {"head_dim": 16, "rope_parameters": {
                "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 5, "long_factor": [2.0] * 5,
            }},
            "short_factor has 5 numbers for 8",
        ),
        ("smollm3", {"use_sliding_window": False, "layer_types": ["sliding_attention"] * 3}, "use_sliding_window="),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True"),
        ("gpt2", {"activation_function": "relu"}, "activation_function='relu'"),
        ("xglm", {"add_cross_attention": True}, "add_cross_attention=True"),
        ("mixtral", {"router_jitter_noise": 0.1}, r"router_jitter_noise=0\.1"),
        ("qwen3_moe", {"decoder_sparse_step": 2}, "decoder_sparse_step=2"),
        ("qwen3_moe", {"mlp_only_layers": [1]}, r"mlp_only_layers=\[1\]"),
    ],
)  # fmt: skip
def test_what_is_not_computed_is_refused_by_name(name, changes, named):
    hf = ZOO[name].config(**changes)
    with pytest.raises(UserError, match=named):
        family_of(hf).decoder_config(hf)


def test_configurations_as_published_years_ago_are_understood():
    """With the field names of their time, which transformers turns into today's."""
    hf = transformers.Gemma3TextConfig(
        num_hidden_layers=7,
        sliding_window=512,
        sliding_window_pattern=6,
        rope_theta=1000000,
        rope_local_base_freq=10000,
    )
    config = family_of(hf).decoder_config(hf)
    assert config.windows == (512, 512, 512, 512, 512, 0, 512)
    assert config.ropes == ("local",) * 5 + ("global", "local")
    assert (config.rope_theta, config.local_rope_theta) == (1e6, 1e4)
    hf = transformers.Phi3Config(
        hidden_size=3072, num_attention_heads=24, num_key_value_heads=8, max_position_embeddings=131072,
        original_max_position_embeddings=4096, partial_rotary_factor=0.75, rope_theta=10000.0, sliding_window=262144,
        rope_scaling={"type": "longrope", "long_factor": [9.0] * 48, "short_factor": [1.0] * 48},
    )  # fmt: skip
    config = family_of(hf).decoder_config(hf)
    assert (config.rotary_dim, config.max_positions, config.windows[0]) == (96, 4096, 262144)
    assert config.rope_scaling.amplitude == pytest.approx((1 + np.log(32) / np.log(4096)) ** 0.5)
    hf = transformers.Qwen2Config(
        rope_theta=1e6, rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    )
    config = family_of(hf).decoder_config(hf)
    assert (config.rope_scaling.factor, config.rope_theta, config.windows) == (4.0, 1e6, ())


def test_longrope_ends_where_pytorch_would_change_the_factors():
    hf = ZOO["phi3-longrope"].config()
    assert hf.max_position_embeddings == 512
    assert family_of(hf).decoder_config(hf).max_positions == 40


def test_the_program_does_not_grow_with_the_depth_unless_unrolled():
    def lowered(layers, unroll):
        kinds = ["sliding_attention", "full_attention"] * (layers // 2)
        hf = ZOO["gemma3"].config(num_hidden_layers=layers, layer_types=kinds)
        graphdef, params = abstract_model(family_of(hf).decoder_config(hf))
        tokens = jax.ShapeDtypeStruct((1, 8), jnp.int32)
        forward = jax.jit(lambda params, x: hidden_states(graphdef, params, x, x, x, unroll=unroll))
        return forward.lower(params, tokens).as_text()

    shallow, deep, unrolled = lowered(2, False), lowered(6, False), lowered(6, True)
    assert shallow.count("\n") == deep.count("\n")
    assert "stablehlo.while" in deep and "stablehlo.while" not in unrolled


def test_unrolled_layers_compute_the_same():
    hf = ZOO["gemma3"].config()
    model = random_model(family_of(hf).decoder_config(hf), 0)
    inputs, _ = batch()
    scanned, unrolled = (
        jax.jit(partial(loss_and_logits, model=model, unroll=unroll))(model.params, inputs)[1]
        for unroll in (False, True)
    )
    assert np.abs(scanned - unrolled).max() < 1e-5
