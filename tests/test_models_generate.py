"""Generation with a cache against PyTorch and against computing everything again; what is drawn; on a mesh."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo_decoders import VOCAB, ZOO, make

from saltjax.errors import UserError
from saltjax.models import generate, generation, hidden_states, load_model, logits
from saltjax.models.cache import continued, empty, grown, repeated
from saltjax.models.generation import rung
from saltjax.models.sampling import drawn, nucleus
from saltjax.train.config import MeshConfig
from saltjax.train.mesh import batch_sharding, make_mesh
from saltjax.train.sharding import param_shardings

torch = pytest.importorskip("torch")

PROMPTS = [[17, 90, 44, 25], [5], [61, 12, 33, 33, 80, 101, 7, 54, 29, 120]]


def lively(name, path):
    """The PyTorch model, saved, with blocks so strong beside the embeddings that it does not repeat one token."""
    reference = make(name, path, seed=3)
    with torch.no_grad():
        for key, parameter in reference.named_parameters():
            if "layers." in key or ".h." in key:
                parameter *= 8.0 if parameter.ndim > 1 else 1.0
            elif "embed" in key or "wte" in key:
                parameter *= 0.5
    reference.save_pretrained(path)
    return reference


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    """(path, model): one with a window of 5, biases and grouped heads."""
    path = tmp_path_factory.mktemp("qwen")
    lively("qwen2", path)
    return path, load_model(path)


@pytest.mark.parametrize("name", ZOO)
def test_greedy_continuations_of_a_batch_equal_transformers_for_each_prompt(tmp_path, name):
    """30 tokens: far beyond every window."""
    reference = lively(name, tmp_path)
    expected = [
        reference.generate(torch.tensor([prompt]), max_new_tokens=30, do_sample=False, eos_token_id=None)[0]
        for prompt in PROMPTS
    ]
    got = generate(load_model(tmp_path), PROMPTS, 30)
    assert sum(len(set(row)) for row in got) > 20
    for prompt, row, theirs in zip(PROMPTS, got, expected, strict=True):
        assert prompt + row == theirs.tolist()


@pytest.fixture(scope="module", params=["gemma3", "gpt2"])
def stepwise(request, tmp_path_factory):
    """(model, the compiled functions: everything at once; a few more tokens)."""
    path = tmp_path_factory.mktemp(request.param)
    make(request.param, path)
    model = load_model(path)

    def whole(params, tokens):
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        hidden = hidden_states(model.graphdef, params, tokens, positions, jnp.ones_like(tokens))
        return logits(model.config, params, hidden)

    def more(params, tokens, positions, segments, cache):
        hidden, cache = continued(model.graphdef, params, tokens, positions, segments, cache)
        return logits(model.config, params, hidden), cache

    return model, jax.jit(whole), jax.jit(more)


def test_scores_with_a_cache_equal_those_of_everything_computed_again(stepwise):
    """Two rows, 6 and 11 tokens padded on the left; then one token at a time, until the cache is full and beyond."""
    model, whole, more = stepwise
    tokens = np.random.default_rng(0).integers(0, VOCAB, (2, 40)).astype(np.int32)
    expected = np.asarray(whole(model.params, tokens))
    lengths, width = np.array([6, 11]), 12
    first = np.stack([np.pad(row[:n], (width - n, 0)) for row, n in zip(tokens, lengths, strict=True)])
    places = np.arange(width) - (width - lengths[:, None])
    cache = empty(model.config, 2, width, jnp.float32)
    scores, cache = more(model.params, first, np.maximum(places, 0), (places >= 0).astype(np.int32), cache)
    cache, rows, real = grown(cache, width + 20), np.arange(2), np.ones((2, 1), np.int32)
    for _ in range(20):
        assert np.abs(scores[:, -1] - expected[rows, lengths - 1]).max() < 1e-4
        scores, cache = more(model.params, tokens[rows, lengths][:, None], lengths[:, None], real, cache)
        lengths += 1
    assert np.abs(scores[:, -1] - expected[rows, lengths - 1]).max() < 1e-4
    scores, _ = more(model.params, tokens[rows, lengths][:, None], lengths[:, None], real, cache)
    assert np.isnan(scores).all()


def test_continuations_share_the_cache_of_their_prefix(stepwise):
    """As for ranked choices: two prefixes, three choices each, padded on the right."""
    model, whole, more = stepwise
    rng = np.random.default_rng(1)
    prefixes, choices = rng.integers(0, VOCAB, (2, 9)), rng.integers(0, VOCAB, (6, 4))
    positions = np.broadcast_to(np.arange(13), (6, 13))
    cache = empty(model.config, 2, 13, jnp.float32)
    _, cache = more(model.params, prefixes, positions[:2, :9], np.ones((2, 9), np.int32), cache)
    real = (np.arange(4) < np.array([4, 1, 3, 2, 4, 3])[:, None]).astype(np.int32)
    got, _ = more(model.params, choices, positions[:, 9:], real, repeated(cache, 3))
    expected = whole(model.params, np.concatenate([np.repeat(prefixes, 3, axis=0), choices], axis=1))[:, 9:]
    assert np.abs(got - expected)[real > 0].max() < 1e-4


def test_what_is_drawn_depends_on_seed_prompt_and_copy_and_not_on_the_batch(qwen):
    draw = partial(generate, qwen[1], max_new=12, temperature=1.0, top_p=0.9)
    prompts = [*PROMPTS[:2], PROMPTS[2] * 2]  # which is padded further than the others alone
    together = draw(prompts)
    assert draw(prompts[::-1], batch_size=1) == together[::-1]
    one, again, other = draw([prompts[0], prompts[0], prompts[2]])
    assert one == together[0] and other == together[2] and again != one
    assert draw(prompts, seed=1)[0] != together[0]


def test_a_row_ends_with_its_eos_and_the_loop_with_the_last_row(qwen, monkeypatch):
    _, model = qwen
    prompts, inside = [PROMPTS[0], PROMPTS[2]], []
    real = generation._generated
    monkeypatch.setattr(generation, "_generated", lambda *args: inside.append(real(*args)) or inside[-1])
    free = generate(model, prompts, 24)
    ends = [free[0][3], free[1][9]]
    cut = [row[: 1 + min(row.index(end) for end in ends if end in row)] for row in free]
    assert generate(model, prompts, 24, eos_ids=ends) == cut
    written, counts = np.asarray(inside[-1][0]), [len(row) for row in cut]
    assert min(counts) < max(counts) < 20  # of the rows, so that there is something to see
    assert (written[:2, max(counts) - 1] > 0).all() and (written[:, max(counts) :] == 0).all()
    assert generate(model, prompts, 17) == [row[:17] for row in free]
    assert generate(model, prompts, 0) == [[], []] and generate(model, [], 5) == []


def test_a_mesh_draws_what_one_device_draws(qwen):
    path, model = qwen
    mesh = make_mesh(MeshConfig(2, 2, 2))
    parted = load_model(path, partial(param_shardings, mesh=mesh), pad_vocab_to=8)
    assert parted.params["layers"]["attn"]["k"].sharding.shard_shape((3, 36, 2, 10)) == (3, 18, 1, 10)
    draw = partial(generate, prompts=PROMPTS * 2, max_new=12, temperature=1.0, top_p=0.9)
    assert draw(parted, rows=batch_sharding(mesh)) == draw(model)


def test_parameters_that_are_narrowed_once_compute_the_same_bits(qwen):
    _, model = qwen
    tokens = jnp.array([PROMPTS[2]])
    narrow = generation._narrowed(model.params, jnp.bfloat16)
    assert narrow["layers"]["attn"]["q"].dtype == jnp.bfloat16 != narrow["norm"]["scale"].dtype
    hidden = jax.jit(partial(hidden_states, model.graphdef, dtype=jnp.bfloat16))
    inputs = tokens, jnp.arange(10)[None], jnp.ones_like(tokens)
    np.testing.assert_array_equal(hidden(model.params, *inputs), hidden(narrow, *inputs))


def sorted_nucleus(scores, top_p):
    """By sorting, in float64."""
    p = np.exp(scores - scores.max(-1, keepdims=True), dtype=np.float64)
    p /= p.sum(-1, keepdims=True)
    order = np.argsort(-p, axis=-1, kind="stable")
    before = np.cumsum(np.take_along_axis(p, order, -1), axis=-1)[:, :-1]
    kept = np.zeros(p.shape, bool)
    np.put_along_axis(kept, order, np.pad(before < top_p, ((0, 0), (1, 0)), constant_values=True), -1)
    return kept


@pytest.mark.parametrize("top_p", [1e-45, 0.1, 0.5, 0.9, 0.999])
def test_the_nucleus_is_that_of_a_sort(top_p):
    scores = np.random.default_rng(0).normal(0, 3, (20, 1000)).astype(np.float32)
    np.testing.assert_array_equal(nucleus(jnp.asarray(scores), top_p), sorted_nucleus(scores, top_p))


@pytest.mark.parametrize(
    ("top_p", "ids"),
    [(0.25, {0}), (0.26, {0, 2}), (0.75, {0, 2, 3}), (0.76, {0, 2, 3, 4}), (0.9, {0, 1, 2, 3, 4})],
)
def test_of_equally_likely_tokens_no_more_than_needed_are_in_the_nucleus(top_p, ids):
    scores = jnp.log(jnp.array([[4.0, 1, 4, 4, 2, 1]]))
    assert set(np.flatnonzero(nucleus(scores, top_p))) == ids


def test_frequencies_of_what_is_drawn():
    p, n = np.array([0.05, 0.4, 0.0, 0.3, 0.15, 0.1]), 20000
    scores = jnp.broadcast_to(jnp.log(jnp.maximum(p, 1e-30)), (n, 6))
    keys = jax.random.split(jax.random.key(0), n)
    for how, temperature, top_p, expected in (
        ("softmax", 1.0, 1.0, p),
        ("softmax", 2.0, 1.0, np.sqrt(p) / np.sqrt(p).sum()),
        ("nucleus", 1.0, 0.8, np.where(p > 0.1, p, 0) / 0.85),
        ("nucleus", 0.5, 0.8, np.array([0, 16, 0, 9, 0, 0]) / 25),
        ("nucleus", 1.0, 1e-6, np.eye(6)[1]),
        ("softmax", 1e-6, 1.0, np.eye(6)[1]),
    ):
        frequencies = np.bincount(drawn(scores, keys, how, temperature, top_p), minlength=6) / n
        assert (frequencies[expected == 0] == 0).all()
        assert (np.abs(frequencies - expected) <= 4 * np.sqrt(expected * (1 - expected) / n)).all()


def test_sizes_are_rounded_up_to_few():
    assert [rung(n) for n in range(1, 14)] == [1, 2, 3, 4, 6, 6, 8, 8, 12, 12, 12, 12, 16]
    assert len({rung(n) for n in range(1, 4097)}) == 24


@pytest.mark.parametrize(
    ("error", "changes", "named"),
    [
        (ValueError, {"prompts": [[3], []]}, r"prompts\[1\] is empty"),
        (ValueError, {"prompts": [[VOCAB]]}, r"prompts\[0\] has an id outside 0\.\.130"),
        (ValueError, {"prompts": [[-1]]}, "outside"),
        (ValueError, {"temperature": -1.0}, "temperature"),
        (ValueError, {"max_new": -1}, "max_new"),
        (ValueError, {"top_p": 0.0}, "top_p"),
        (ValueError, {"top_p": 1.1}, "top_p"),
        (ValueError, {"batch_size": 0}, "batch_size"),
        (UserError, {"prompts": [[3] * 60]}, "60 tokens and 5 new ones are more than the model's 64"),
    ],
)
def test_what_cannot_be_is_refused(qwen, error, changes, named):
    with pytest.raises(error, match=named):
        generate(qwen[1], **{"prompts": [[3]], "max_new": 5, **changes})
