import jax.numpy as jnp
import numpy as np

from saltjax.train.config import read_config
from saltjax.train.schedules import decay_start, learning_rate


def test_learning_rate_warms_up_then_follows_a_cosine():
    config = read_config(None, ["steps=110", "warmup_steps=10", "learning_rate=1", "final_learning_rate_ratio=0.1"])
    rates = np.array([learning_rate(jnp.int32(s), config) for s in (0, 4, 9, 10, 60, 110, 500)])
    np.testing.assert_allclose(rates, [0.1, 0.5, 1.0, 1.0, 0.55, 0.1, 0.1], rtol=1e-6)
    flat = read_config(None, ["steps=3", "warmup_steps=0", "learning_rate=1", "final_learning_rate_ratio=1"])
    assert all(learning_rate(jnp.int32(s), flat) == 1 for s in range(4))


def rates(*overrides: str) -> np.ndarray:
    config = read_config(None, ["learning_rate=1", "warmup_steps=4", "final_learning_rate_ratio=0.1", *overrides])
    return np.array([learning_rate(jnp.int32(s), config) for s in range(30)])


def test_constant_is_the_peak_after_the_warm_up():
    found = rates("schedule=constant", "steps=20")
    np.testing.assert_allclose(found, [0.25, 0.5, 0.75, *[1.0] * 27])


def test_wsd_is_constant_and_then_falls_with_the_root():
    found = rates("schedule=wsd", "steps=20", "decay_steps=5")
    np.testing.assert_allclose(found[3:16], 1.0)
    np.testing.assert_allclose(found[15:21], 0.1 + 0.9 * (1 - np.sqrt(np.arange(6) / 5)), rtol=1e-6)
    np.testing.assert_allclose(found[20:], 0.1, rtol=1e-6)


def test_a_longer_wsd_run_does_not_change_what_was_done_before_the_decay():
    short, long = rates("schedule=wsd", "steps=20", "decay_steps=5"), rates("schedule=wsd", "steps=28", "decay_steps=5")
    start = decay_start(read_config(None, ["schedule=wsd", "steps=20", "decay_steps=5", "warmup_steps=4"]))
    assert start == 15
    np.testing.assert_array_equal(short[: start + 1], long[: start + 1])
    np.testing.assert_array_equal(rates("schedule=wsd", "steps=20"), rates("schedule=constant", "steps=20"))
