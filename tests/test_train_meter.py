"""The speed of a run: every number from a clock that the test turns, and what of it is told."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from saltjax.train import meter as room
from saltjax.train import metrics
from saltjax.train.chips import CHIPS
from saltjax.train.meter import SPEED, Meter, NotFinite


@pytest.fixture
def clock(monkeypatch):
    """`clock(seconds)` lets time pass."""
    now = [100.0]
    monkeypatch.setattr(room.time, "perf_counter", lambda: now[0])

    def passes(seconds: float) -> None:
        now[0] += seconds

    return passes


def values(loss: float = 2.0, norm: float = 1.0, tokens: int = 600) -> dict:
    return {"loss": jnp.float32(loss), "grad_norm": jnp.float32(norm), "tokens": jnp.float32(tokens)}


def one_step(meter: Meter, clock, number: int, wait: float, compute: float, compiling: float = 0.0) -> None:
    meter.begin()
    clock(wait)
    meter.fetched()
    if compiling:
        clock(compiling)
        meter.begin()
    clock(compute)
    meter.settle()
    meter.launched(number, values(), {})
    meter.settle()
    meter.end(flops=3e12)


def test_every_speed_is_what_it_says(clock):
    meter = Meter(devices=4, peak=1e12, tokens=1000, seconds=50.0)
    assert meter.speed == dict.fromkeys(SPEED)
    one_step(meter, clock, 1, wait=7.0, compute=1.0, compiling=30.0)  # neither is time of training
    clock(99.0)  # evaluation
    one_step(meter, clock, 2, wait=0.5, compute=1.5)
    line = meter.since_logged()
    assert {key: line[key] for key in ("tokens", "seconds", *SPEED)} == {
        "tokens": 2200,
        "seconds": 53.0,
        "tokens_per_second": 400.0,
        "tokens_per_second_per_device": 100.0,
        "step_seconds": 1.5,
        "data_wait": round(0.5 / 3, 4),
        "mfu": 6e12 / 3 / 4e12,
    }
    one_step(meter, clock, 3, wait=0.0, compute=1.0)
    assert meter.since_logged()["tokens_per_second"] == 600.0  # since the line before
    assert meter.speed["tokens_per_second"] == 450.0  # of all


def test_without_a_known_peak_there_is_no_mfu_and_on_a_cpu_no_memory(clock):
    meter = Meter(1, None)
    one_step(meter, clock, 1, 0.0, 1.0)
    line = meter.since_logged()
    assert line["mfu"] is None and line["tokens_per_second"] == 600.0
    assert line["device_memory_bytes"] is line["device_memory_peak_bytes"] is None


@pytest.mark.parametrize(("loss", "norm", "key"), [(math.nan, 1.0, "loss"), (2.0, math.inf, "grad_norm")])
def test_what_is_not_finite_is_found_at_the_next_look_with_its_batch(loss, norm, key):
    meter = Meter(1, None)
    assert meter.settle() is None
    batch = {"tokens": np.arange(3)}
    meter.launched(5, values(loss, norm), batch)
    with pytest.raises(NotFinite) as found:
        meter.settle()
    assert (found.value.step, found.value.key) == (5, key) and found.value.batch is batch


def test_peaks_are_per_device_and_of_plausible_chips():
    for kind, found in CHIPS.items():
        assert 1e14 < found.flops < 3e15 and kind.startswith(("TPU", "NVIDIA"))


def test_numbers_that_are_not_known_are_null_in_the_file_and_missing_on_the_board(tmp_path):
    line = {"step": 3, "loss": 2.5, "mfu": None, "bits_per_byte": {"de": 1.5, "en": 2.0}}
    with metrics.Log(tmp_path / "metrics.jsonl", None) as log:
        log.write(line)
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == line
    assert dict(board(tmp_path)) == {"train/loss": 2.5, "bits_per_byte/de": 1.5, "bits_per_byte/en": 2.0}


def board(run):
    """(tag, value) of all scalars in TensorBoard's file: records of length, checksum, bytes, checksum."""
    (file,) = (run / "tensorboard").glob("events.*")
    data, at = file.read_bytes(), 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 8], "little")
        for value in Event.FromString(data[at + 12 : at + 12 + size]).summary.value:
            yield value.tag, value.simple_value
        at += 16 + size
