import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saltjax.train.loss import chunked_cross_entropy, targets


def oracle(hidden, table, tokens, segments):
    """Sum and count of -log p(next token), one token at a time in float64."""
    total, number = 0.0, 0
    for b in range(len(tokens)):
        for t in range(tokens.shape[1] - 1):
            if segments[b, t] > 0 and segments[b, t] == segments[b, t + 1]:
                scores = table.astype(np.float64) @ hidden[b, t].astype(np.float64)
                total += np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[tokens[b, t + 1]]
                number += 1
    return total, number


def scores(tables, h):
    return jnp.einsum("btd,vd->btv", h, tables["table"])


def logsumexp_squares(hidden, table, valid):
    scores = hidden.astype(np.float64) @ table.astype(np.float64).T
    return (np.log(np.exp(scores).sum(-1))[valid] ** 2).sum()


def example(t=10, v=13, d=6):
    rng = np.random.default_rng(0)
    segments = np.array([[1] * 4 + [2] * 5 + [0], [1] * 9 + [2], [0] * 10])[:, :t].astype(np.int32)
    tokens = rng.integers(0, v, segments.shape).astype(np.int32)
    hidden = rng.normal(size=(*segments.shape, d)).astype(np.float32)
    return hidden, rng.normal(size=(v, d)).astype(np.float32), tokens, segments


def test_targets_cross_no_segment_and_skip_padding():
    _, _, tokens, segments = example()
    following, valid = targets(jnp.array(tokens), jnp.array(segments))
    np.testing.assert_array_equal(following[:, :-1], tokens[:, 1:])
    expected = [[1, 1, 1, 0, 1, 1, 1, 1, 0, 0], [1] * 8 + [0, 0], [0] * 10]
    np.testing.assert_array_equal(valid, np.array(expected, bool))


def test_a_window_of_one_segment_does_not_wrap_around():
    _, valid = targets(jnp.zeros((1, 4), jnp.int32), jnp.ones((1, 4), jnp.int32))
    np.testing.assert_array_equal(valid, [[True, True, True, False]])


@pytest.mark.parametrize("chunk", [1, 3, 5, 10, 100])
def test_any_chunk_gives_the_sum_over_single_tokens(chunk):
    hidden, table, tokens, segments = example()
    following, valid = targets(jnp.array(tokens), jnp.array(segments))

    def run(h, w, z_loss=0.0):
        return chunked_cross_entropy(scores, {"table": w}, h, following, valid, chunk, z_loss)

    objective, total, number = run(jnp.array(hidden), jnp.array(table))
    expected, count = oracle(hidden, table, tokens, segments)
    assert number == count == 15 and objective == total
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    squares = run(jnp.array(hidden), jnp.array(table), 0.5).objective - total
    np.testing.assert_allclose(squares, logsumexp_squares(hidden, table, np.array(valid)) / 2, rtol=1e-5)


@pytest.mark.parametrize("chunk", [3, 10])
@pytest.mark.parametrize("z_loss", [0.0, 0.3])
def test_any_chunk_gives_the_gradient_of_the_whole(chunk, z_loss):
    """Whatever of the two learns, and whatever the objective is multiplied with."""
    hidden, table, tokens, segments = example()
    following, valid = targets(jnp.array(tokens), jnp.array(segments))

    def run(h, w):
        return 0.25 * chunked_cross_entropy(scores, {"table": w}, h, following, valid, chunk, z_loss).objective

    def whole(h, w):
        z = jax.nn.logsumexp(h @ w.T, axis=-1)
        chosen = jnp.take_along_axis(h @ w.T, following[..., None], -1)[..., 0]
        return 0.25 * ((z - chosen + z_loss * z**2) * valid).sum()

    for learns in ((0, 1), (0,), (1,)):
        found = jax.grad(run, learns)(jnp.array(hidden), jnp.array(table))
        wanted = jax.grad(whole, learns)(jnp.array(hidden), jnp.array(table))
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=4e-6)


def test_the_gradient_of_the_table_is_summed_in_float32():
    """1,024 equal contributions: a bfloat16 sum of them would stall at 256 of its smallest steps."""
    t = 1024
    hidden = jnp.ones((1, t, 1), jnp.bfloat16)
    following, valid = jnp.zeros((1, t), jnp.int32), jnp.ones((1, t), bool)

    def loss(table):
        def logits(tables, x):
            rounded = tables["table"].astype(x.dtype)
            return jnp.einsum("btd,vd->btv", x, rounded, preferred_element_type=jnp.float32)

        return chunked_cross_entropy(logits, {"table": table}, hidden, following, valid, chunk=1).objective

    np.testing.assert_allclose(jax.grad(loss)(jnp.zeros((2, 1))), [[-t / 2], [t / 2]], rtol=1e-6)


def test_memory_does_not_hold_all_logits():
    t, v, d = 512, 4096, 8

    def loss(hidden, table, chunk):
        following, valid = jnp.zeros((1, t), jnp.int32), jnp.ones((1, t), bool)
        return chunked_cross_entropy(scores, {"table": table}, hidden, following, valid, chunk).objective

    def temp(chunk):
        shapes = jax.ShapeDtypeStruct((1, t, d), jnp.float32), jax.ShapeDtypeStruct((v, d), jnp.float32)
        grad = jax.jit(jax.grad(lambda h, w: loss(h, w, chunk), (0, 1)))
        return grad.lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    assert temp(t) > 4 * t * v
    assert temp(32) < 4 * t * v / 4
