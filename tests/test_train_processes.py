"""Two real processes with two devices each train one run together."""

import shutil
import signal
import time

import numpy as np
import pytest
from harness import House, arrays, bits, ended, lines

from saltjax import api
from saltjax.train import checkpoint

STEPS = 24
SETTINGS = (f"steps={STEPS}", "checkpoint_every=0", "eval_every=0", "schedule=constant")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    return House(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def together(house):
    """An undisturbed run of two processes."""
    statuses, said = ended(house.start_two("together", *SETTINGS))
    assert statuses == [0, 0], said
    return house.folder / "together", said


def alone(house, run, *settings):
    """One process, this one; some of its eight devices."""
    return api.adapt(
        house.folder / "llm",
        run,
        text=[house.folder / "text.txt"],
        valid=[f"de={house.folder / 'valid.txt'}"],
        overrides=[*house.settings(*SETTINGS), *settings],
    )


def close(one, other):
    """Sums in another order, which Adam makes larger where a gradient is near zero: 1.1e-5 was seen in one number."""
    assert one.keys() == other.keys()
    for path, x in one.items():
        np.testing.assert_allclose(x.astype(float), other[path].astype(float), atol=2e-5, err_msg=path)


def numbers(entries):
    return [(e["step"], e["loss"] if "loss" in e else e["bits_per_byte"]["de"]) for e in entries]


def test_one_process_writes_and_speaks_and_the_result_is_that_of_one(house, together):
    run, (first, second) = together
    assert f"step {STEPS}/{STEPS}" in first and second == ""
    alone(house, house.folder / "alone", "mesh.fsdp=1")
    np.testing.assert_allclose(numbers(lines(run)), numbers(lines(house.folder / "alone")), rtol=1e-4)
    found = {k: v for k, v in arrays(run, STEPS).items() if "params" in k}
    close(found, {k: v for k, v in arrays(house.folder / "alone", STEPS).items() if "params" in k})
    assert api.export(run, house.folder / "out", step="best")["max_abs_logit_difference"] < 1e-3


def test_a_signal_to_one_stops_all_after_the_same_step_and_any_topology_goes_on(house, together):
    run = house.folder / "stopped"
    two = house.start_two("stopped", *SETTINGS)
    while not (run / "metrics.jsonl").exists() or len(lines(run)) < 4:
        assert all(process.poll() is None for process in two), ended(two)
        time.sleep(0.001)
    two[1].send_signal(signal.SIGTERM)
    statuses, said = ended(two)
    assert statuses == [130, 130], said
    (step,) = checkpoint.steps(run / "checkpoints")
    assert 0 < step < STEPS
    assert f"saved step {step} of {STEPS}" in said[0]

    shutil.copytree(run, house.folder / "elsewhere")
    alone(house, house.folder / "elsewhere", "mesh.data=2", "mesh.fsdp=1", "mesh.tensor=2")
    close(arrays(house.folder / "elsewhere", STEPS), arrays(together[0], STEPS))

    statuses, said = ended(house.start_two("stopped", *SETTINGS))
    assert statuses == [0, 0], said
    assert bits(run, STEPS) == bits(together[0], STEPS)
    assert lines(run) == lines(together[0])


@pytest.mark.parametrize("who", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_mistake_in_one_process_ends_all_with_a_line(house, who):
    two = house.start_two("never", *SETTINGS, own={who: ("data=[{path: nowhere.txt}]",)})
    statuses, said = ended(two)
    assert statuses == [2, 2], said
    mine, other = said[who].strip(), said[1 - who].strip()
    assert mine.startswith("saltjax: ") and "\n" not in mine
    assert f"process {who} of 2 ended: " in other and other.endswith("; this one ends too")
    assert not (house.folder / "never").exists()


@pytest.mark.slow
def test_a_killed_process_ends_the_other_and_a_tensor_axis_may_span_both(house):
    run, settings = house.folder / "killed", ("steps=8", "checkpoint_every=2", "eval_every=0", "schedule=constant")
    across = ("mesh.fsdp=1", "mesh.tensor=4")
    two = house.start_two("killed", *settings, "steps=2000", *across)
    while not (run / "metrics.jsonl").exists() or len(lines(run)) < 6:
        assert all(process.poll() is None for process in two), ended(two)
        time.sleep(0.001)
    two[1].kill()
    statuses, said = ended(two)
    assert statuses[0] in (1, -signal.SIGABRT), said  # our line, or JAX's way where it waits at a barrier
    assert statuses[0] != 1 or said[0].strip().endswith("start all again: they resume")
    (*_, step) = checkpoint.steps(run / "checkpoints")
    api.export(run, house.folder / "exported")
    alone(house, house.folder / "one", *settings, f"steps={step}", "mesh.fsdp=1")
    close(
        {k: v for k, v in arrays(run, step).items() if "params" in k},
        {k: v for k, v in arrays(house.folder / "one", step).items() if "params" in k},
    )
