"""The decoder against PyTorch's, on tiny random models with odd shapes: logits and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saltjax.models import export_tensors, family_of, hidden_states, load_model, logits, output_table
from saltjax.models.rope import frequencies

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
SHAPES = {
    "one kv head, head_dim not d/h, tied": {"num_key_value_heads": 1, "head_dim": 14, "tie_word_embeddings": True},
    "grouped, untied": {"num_key_value_heads": 2, "head_dim": 22},
    "biases, linear rope": {
        "num_key_value_heads": 6, "attention_bias": True, "mlp_bias": True,
        "rope_parameters": {"rope_type": "linear", "factor": 2.5, "rope_theta": 5000.0},
    },
    "llama3 rope": {
        "num_key_value_heads": 3, "head_dim": 32,
        "rope_parameters": {"rope_type": "llama3", "rope_theta": 500.0, **LLAMA3},
    },
}  # fmt: skip


def tiny(path, dtype="float32", seed=0, **settings):
    """A random Llama directory whose norms and biases are random too; returns (path, the PyTorch model)."""
    torch.manual_seed(seed)
    base = {
        "vocab_size": 131, "hidden_size": 60, "intermediate_size": 77, "num_hidden_layers": 3, "num_attention_heads": 6,
        "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
        "bos_token_id": 1, "eos_token_id": 2, "attn_implementation": "eager",
    }  # fmt: skip
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**base, **settings})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.15)
    model = model.to(getattr(torch, dtype))
    model.save_pretrained(path)
    return path, model


def ours(model, tokens, positions=None, segments=None, dtype=jnp.float32, **options):
    tokens = jnp.asarray(tokens)
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape) if positions is None else positions
    segments = jnp.ones_like(tokens) if segments is None else segments

    @jax.jit
    def forward(params, *inputs):
        return logits(model.config, params, hidden_states(model.graphdef, params, *inputs, dtype, **options))

    return np.asarray(forward(model.params, tokens, jnp.asarray(positions), jnp.asarray(segments)))


def theirs(model, tokens, **inputs):
    with torch.no_grad():
        return model(torch.as_tensor(np.asarray(tokens)).long(), use_cache=False, **inputs).logits.float().numpy()


def ids(shape, seed=0, vocab=131):
    return np.random.default_rng(seed).integers(3, vocab, shape).astype(np.int32)


@pytest.mark.parametrize("name", SHAPES)
def test_logits_equal_pytorch(tmp_path, name):
    path, reference = tiny(tmp_path / "m", **SHAPES[name])
    model = load_model(path)
    tokens = ids((2, 200))  # three times the positions of llama3's pre-training
    assert np.abs(ours(model, tokens) - theirs(reference, tokens)).max() < 1e-4


def test_padded_and_packed_inputs_equal_each_piece_alone(tmp_path):
    path, reference = tiny(tmp_path / "m", **SHAPES["llama3 rope"])
    model = load_model(path)
    pieces = [ids(n, seed=n) for n in (7, 19, 3, 11)]
    tokens, positions, segments = (np.zeros((2, 40), np.int32) for _ in range(3))
    places = [(0, 0), (0, 7), (1, 0), (1, 3)]  # two pieces in a row, and a padded tail
    for number, ((row, at), piece) in enumerate(zip(places, pieces, strict=True), start=1):
        where = slice(at, at + len(piece))
        tokens[row, where], positions[row, where], segments[row, where] = piece, np.arange(len(piece)), number
    got = ours(model, tokens, positions, segments)
    assert np.isfinite(got).all()
    for (row, at), piece in zip(places, pieces, strict=True):
        assert np.abs(got[row, at : at + len(piece)] - theirs(reference, piece[None])[0]).max() < 1e-4


def test_positions_are_those_given_and_not_counted(tmp_path):
    path, reference = tiny(tmp_path / "m", **SHAPES["llama3 rope"])
    tokens, positions = ids((1, 30)), np.cumsum(ids((1, 30), vocab=9), axis=1, dtype=np.int32)
    every = torch.ones(tokens.shape, dtype=torch.long)  # without a mask transformers takes the gaps for packing
    expected = theirs(reference, tokens, position_ids=torch.as_tensor(positions).long(), attention_mask=every)
    assert np.abs(ours(load_model(path), tokens, positions) - expected).max() < 1e-4


def test_right_padding_equals_pytorch_with_an_attention_mask(tmp_path):
    path, reference = tiny(tmp_path / "m")
    model = load_model(path)
    tokens, real = ids((2, 24)), np.array([[1] * 24, [1] * 9 + [0] * 15], np.int32)
    expected = theirs(reference, tokens, attention_mask=torch.as_tensor(real))
    assert np.abs((ours(model, tokens, segments=real) - expected)[real > 0]).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "remat"),
    [
        ("one kv head, head_dim not d/h, tied", "none"),
        ("biases, linear rope", "block"),
        ("llama3 rope", "dots"),
    ],
)
def test_gradient_of_the_loss_equals_pytorch(tmp_path, name, remat):
    path, reference = tiny(tmp_path / "m", **SHAPES[name])
    model = load_model(path)
    tokens = ids((2, 33))
    reference(torch.as_tensor(tokens).long(), labels=torch.as_tensor(tokens).long()).loss.backward()
    expected = {key: value.grad.numpy() for key, value in reference.named_parameters()}

    def loss(params):
        x = jnp.asarray(tokens)
        positions = jnp.broadcast_to(jnp.arange(33), x.shape)
        hidden = hidden_states(model.graphdef, params, x, positions, jnp.ones_like(x), remat=remat)
        scores = jax.nn.log_softmax(logits(model.config, params, hidden[:, :-1]))
        return -jnp.take_along_axis(scores, x[:, 1:, None], axis=-1).mean()

    got = dict(export_tensors(model.config, jax.jit(jax.grad(loss))(model.params), model.dtypes))
    assert got.keys() == expected.keys()
    for key in expected:
        np.testing.assert_allclose(got[key], expected[key], atol=2e-6, rtol=2e-4, err_msg=key)


def test_bfloat16_compute_stays_near_float32(tmp_path):
    path, _ = tiny(tmp_path / "m")
    model = load_model(path)
    tokens = ids((2, 50))
    exact, rough = ours(model, tokens), ours(model, tokens, dtype=jnp.bfloat16)
    assert 0 < np.abs(exact - rough).max() < 0.05 * np.abs(exact).max()


YARN = {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 4096}
SCALINGS = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 3.0},
    "llama3": {"rope_type": "llama3", **LLAMA3},
    "yarn": YARN,
    "yarn, not rounded": {**YARN, "truncate": False, "beta_fast": 20.0, "beta_slow": 2.0},
    "yarn, its own amplitude": {**YARN, "attention_factor": 0.83},
    "yarn, DeepSeek's amplitude": {**YARN, "mscale": 0.7, "mscale_all_dim": 0.4},
    "yarn, one dimension wide": {**YARN, "beta_fast": 1.0, "beta_slow": 1.0, "original_max_position_embeddings": 7},
}


@pytest.mark.parametrize("kind", SCALINGS)
def test_rope_frequencies_and_amplitude_equal_pytorch(kind):
    hf = transformers.LlamaConfig(head_dim=64, rope_parameters={"rope_theta": 500000.0, **SCALINGS[kind]})
    reference = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(hf)
    config = family_of(hf).decoder_config(hf)
    got = frequencies(config.rotary_dim, config.rope_theta, config.rope_scaling)
    np.testing.assert_allclose(got, reference.inv_freq.numpy(), rtol=3e-7)
    amplitude = config.rope_scaling.amplitude if config.rope_scaling else 1.0
    assert amplitude == pytest.approx(reference.attention_scaling, rel=1e-12)


def test_padded_vocabulary_is_masked_and_changes_nothing(tmp_path):
    path, _ = tiny(tmp_path / "m", **SHAPES["grouped, untied"])
    plain, padded = load_model(path), load_model(path, pad_vocab_to=64)
    assert output_table(padded.config, padded.params).shape == (192, 60)
    tokens = ids((2, 20))
    got = ours(padded, tokens)
    assert np.abs(got[..., :131] - ours(plain, tokens)).max() < 1e-5
    assert (jax.nn.softmax(got)[..., 131:] == 0).all()


def test_an_id_outside_the_table_is_not_another_token(tmp_path):
    path, _ = tiny(tmp_path / "m")
    assert np.isnan(ours(load_model(path), np.array([[5, 131]], np.int32))[0, 1]).all()
