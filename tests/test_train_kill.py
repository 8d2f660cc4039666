"""A run that is killed again and again, at any moment, ends with the bits of one that was left alone."""

import random
import time
from collections import Counter

import pytest
from harness import House, bits, ended, lines

from saltjax.train import checkpoint

MOMENTS = ("step", "write", "start")


def settings(steps):
    return (f"steps={steps}", "checkpoint_every=3", "eval_every=6", "keep_checkpoints=2", "keep_best=mean")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    return House(tmp_path_factory.mktemp("kill"))


def kill_at(moment, process, run, rng):
    """SIGKILL at such a moment and a little later; whether the process was still alive.

    start: some seconds after it was begun: while it imports, reads, compiles or restores. step: when it has logged a
    few steps more. write: when a checkpoint is being written.
    """
    seen = len(lines(run)) if run.exists() else 0
    began, until = time.monotonic(), rng.uniform(0, 6)
    more, later = rng.randint(1, 4), rng.uniform(0, 0.05)
    while process.poll() is None:
        if moment == "start" and time.monotonic() - began > until:
            break
        if moment == "step" and run.exists() and len(lines(run)) >= seen + more:
            break
        if moment == "write" and any((run / "checkpoints").glob("*.orbax-checkpoint-tmp")):
            break
        time.sleep(0.001)
    time.sleep(later)
    alive = process.poll() is None
    process.kill()
    process.communicate()
    return alive


def killed_often(house, moments, steps, seed):
    """How the kills hit: {(moment, what lay there): count}."""
    rng, run, hits = random.Random(seed), house.folder / "killed", Counter()
    for moment in moments:
        alive = kill_at(moment, house.start("killed", *settings(steps)), run, rng)
        half = (run / "checkpoints").exists() and any((run / "checkpoints").glob("*.orbax-checkpoint-tmp"))
        hits[moment, "ended before" if not alive else "half a checkpoint" if half else "none half"] += 1
    assert ended([house.start("killed", *settings(steps))])[0] == [0]
    return hits


def the_same(house, steps):
    one, other = house.folder / "killed", house.folder / "straight"
    assert lines(one) == lines(other)
    assert bits(one, steps) == bits(other, steps)
    assert checkpoint.steps(one / "checkpoints") == checkpoint.steps(other / "checkpoints")


def test_three_kills_change_no_bit(house):
    assert ended([house.start("straight", *settings(12))])[0] == [0]
    hits = killed_often(house, ("write", "start", "step"), 12, seed=0)
    assert sum(count for (_, what), count in hits.items() if what != "ended before") == 3, hits
    the_same(house, 12)


@pytest.mark.slow
def test_twenty_kills_change_no_bit(house):
    assert ended([house.start("straight", *settings(90))])[0] == [0]
    rng = random.Random(1)
    hits = killed_often(house, [rng.choice(MOMENTS) for _ in range(20)], 90, seed=2)
    print(f"kills: {dict(hits)}")
    assert sum(count for (_, what), count in hits.items() if what != "ended before") == 20, hits
    assert hits["write", "half a checkpoint"] > 0
    the_same(house, 90)
