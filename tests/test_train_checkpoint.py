"""Checkpoints that hold: damage is seen, the one before is used, what matters is not removed."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading

import jax.numpy as jnp
import numpy as np
import pytest
from test_train_loop import BASE, STRAIGHT, bits, fresh_batches, fresh_model, lines, new_run, table_mean
from test_train_loop import compile_each_program_once as compile_each_program_once
from test_train_loop import straight as straight

from saltjax.errors import UserError
from saltjax.train import checkpoint, checksums
from saltjax.train.best import best_step
from saltjax.train.config import read_config
from saltjax.train.loop import train
from saltjax.train.run import Run, create, read, resume
from saltjax.train.step import State


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flipped(path, rng=random.Random(0)):
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def copy(run, path):
    shutil.copytree(run.path, path)
    return Run(path, run.config)


@pytest.fixture(scope="module")
def state():
    values = np.random.default_rng(0).normal(size=(64, 80)).astype(np.float32)
    return State({"w": jnp.asarray(values)}, {"w": jnp.asarray(values) * 2}, jnp.int32(3))


@pytest.fixture
def written(tmp_path, state):
    with checkpoint.open_checkpoints(tmp_path / "c", checkpoint.Keep(1)) as checkpoints:
        checkpoint.save(checkpoints, state, {"batches": 1})
    return tmp_path / "c" / "3"


def test_every_lost_cut_or_changed_file_is_seen(written, tmp_path):
    """A flipped bit of an array gives another number without an error (tensorstore writes zstd without checksums)."""
    assert checksums.damage(written) is None
    listed = json.loads((written / checksums.NAME).read_text())
    later = {"_CHECKPOINT_METADATA", "commit_success.txt", checksums.NAME}
    assert set(listed) == {str(path.relative_to(written)) for path in files(written)} - later
    assert sum(size for size, _ in listed.values()) > 64 * 80 * 4 * 2 * 0.8  # the arrays are among them
    for path in files(written):
        if path.name in later and path.parent == written and path.name != checksums.NAME:
            continue
        original = path.read_bytes()
        for spoil, says in (
            (lambda path=path: path.unlink(), "is missing"),
            (lambda path=path, half=original[: len(original) // 2]: path.write_bytes(half), "bytes instead of"),
            (lambda path=path: flipped(path), "CRC-32"),
        ):
            spoil()
            found = checksums.damage(written)
            if path.name == checksums.NAME:
                assert found
            else:
                assert found and found.startswith(str(path)) and says in found
                in_params = path.is_relative_to(written / "params")
                assert checksums.damage(written, "params/") == (found if in_params else None)
            path.write_bytes(original)


def test_a_checkpoint_has_its_checksums_before_its_name(tmp_path, state, monkeypatch):
    """A kill between the two would leave a checkpoint that nothing can vouch for."""
    seen = []
    write = checksums.write

    def watched(folder):
        seen.append([one.name for one in (tmp_path / "c").iterdir()])
        write(folder)

    monkeypatch.setattr(checksums, "write", watched)
    with checkpoint.open_checkpoints(tmp_path / "c", checkpoint.Keep(1)) as checkpoints:
        checkpoint.save(checkpoints, state, {"batches": 1})
    assert seen == [["3.orbax-checkpoint-tmp"]]


def test_a_damaged_last_checkpoint_is_moved_aside_and_the_one_before_goes_on(tmp_path, straight, capfd):
    run = copy(straight[0], tmp_path / "run")
    largest = max(files(run.path / "checkpoints/6"), key=lambda path: path.stat().st_size)
    flipped(largest)
    (run.path / "checkpoints/5/params/manifest.ocdbt").unlink()
    result = train(fresh_model(), fresh_batches(), run, table_mean)
    said = capfd.readouterr().err
    assert f"checkpoint 6 is damaged ({largest} has other bytes" in said and "and step 4 is the last" in said
    assert "checkpoint 5 is damaged" in said and "manifest.ocdbt is missing" in said
    assert {"broken-5", "broken-6"} <= {one.name for one in (run.path / "checkpoints").iterdir()}
    assert checkpoint.steps(run.checkpoints) == [1, 2, 3, 4, 5, 6] and result.step == 6
    assert bits(run, 6) == bits(straight[0], 6) and lines(run) == lines(straight[0])


def test_when_all_are_damaged_nothing_is_touched_and_a_line_says_so(tmp_path, straight):
    run = copy(straight[0], tmp_path / "run")
    for step in range(1, 7):
        (run.path / f"checkpoints/{step}/data/data.json").write_text("{")
    before = files(run.path)
    with pytest.raises(UserError, match=r"every checkpoint is damaged \(steps 6, 5, 4, 3, 2, 1; .*bring one back"):
        train(fresh_model(), fresh_batches(), run, table_mean)
    assert files(run.path) == before


def test_a_damaged_checkpoint_is_not_exported(tmp_path, straight):
    run = copy(straight[0], tmp_path / "run")
    flipped(max(files(run.path / "checkpoints/6/params"), key=lambda path: path.stat().st_size))
    with pytest.raises(UserError, match=r"step 6 is damaged: .*CRC-32.*--step 1, 2, 3, 4, 5"):
        checkpoint.load_params(run.checkpoints)
    assert checkpoint.load_params(run.checkpoints, 5)[0] == 5


def test_the_best_and_the_one_before_the_decay_stay(tmp_path):
    wsd = ("schedule=wsd", "decay_steps=3", "steps=8", "checkpoint_every=2", "eval_every=1", "keep_checkpoints=1")
    run = new_run(tmp_path, *wsd, "keep_best=a")
    a = iter((9.0, 8.0, 7.0, 3.0, 5.0, 6.0, 3.0, 4.0, 5.0))  # lowest at steps 3 and 6: the first of equals
    train(fresh_model(), fresh_batches(), run, lambda params: {"a": next(a), "b": 0.0})
    assert checkpoint.steps(run.checkpoints) == [3, 5, 8]


def test_best_step():
    scores = {0: {"de": 3.0, "en": 1.0}, 4: {"de": 2.0, "en": 4.0}, 8: {"de": 2.0}, 9: {}}
    assert [best_step(scores, of) for of in ("none", "mean", "de", "en", "ar")] == [None, 0, 4, 0, None]
    assert best_step(scores, "de", among=[0, 8, 9]) == 8


def test_saving_copies_and_returns(tmp_path, straight, monkeypatch):
    """What is saved is what was there at the call, though the loop goes on and gives the arrays away at once."""
    assert bits(straight[0], 3) != bits(straight[0], 4)  # (that they are right is `resumes to the same bits`)
    gate, write, seen = threading.Event(), checksums.write, []
    monkeypatch.setattr(checksums, "write", lambda folder: (gate.wait(60), write(folder)))  # a slow disk
    run = new_run(tmp_path, *STRAIGHT, "checkpoint_every=3")

    def score(params):
        seen.append(checkpoint.steps(run.checkpoints))
        if len(seen) == 3:  # after step 4
            gate.set()
        return table_mean(params)

    train(fresh_model(), fresh_batches(), run, score)
    assert seen[:3] == [[], [], []]  # steps 0, 2 and 4: that of step 3 was still being written
    assert checkpoint.steps(run.checkpoints) == [3, 6]
    assert bits(run, 3) == bits(straight[0], 3)


def test_checkpoints_at_another_place_outlive_the_run(tmp_path):
    place = tmp_path / "bucket/one"
    config = read_config(None, [*BASE, "steps=3", f"checkpoints={place}"])
    inputs, source = {"model": "m"}, tmp_path / "source"
    source.mkdir()
    first = create(tmp_path / "run", config, inputs, source, {})
    train(fresh_model(), fresh_batches(), first)
    assert checkpoint.steps(place) == [3] and not (first.path / "checkpoints").exists()
    assert resume(first.path, config, inputs) == first == read(first.path)
    shutil.rmtree(first.path)
    longer = read_config(None, [*BASE, "steps=4", f"checkpoints={place}"])
    again = create(tmp_path / "run", longer, inputs, source, {})
    assert train(fresh_model(), fresh_batches(), again).step == 4 and len(lines(again)) == 1
    other = read_config(None, [*BASE, "steps=4", "seed=7", f"checkpoints={place}"])
    with pytest.raises(UserError, match=r"this run has seed=0, the command says seed=7"):
        create(tmp_path / "other", other, inputs, source, {})
    (place / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"checkpoints already \(steps 3, 4\).*another place"):
        create(tmp_path / "other", longer, inputs, source, {})
    assert not (tmp_path / "other").exists()


FULL = """
import os, sys
sys.path.insert(0, sys.argv[2])
import conftest
from pathlib import Path
from test_train_loop import *
place = Path(sys.argv[1])
run = new_run(place / "run", *STRAIGHT, "checkpoint_every=0", "steps=2", "keep_checkpoints=1")
train(fresh_model(), fresh_batches(), run, table_mean)
def fill(leave):
    (place / "filler").unlink(missing_ok=True)
    with (place / "filler").open("wb", buffering=0) as file:
        try:
            while True: file.write(bytes(4096))
        except OSError: pass
    os.truncate(place / "filler", max(0, (place / "filler").stat().st_size - leave))
for leave in (0, 16384):  # nothing at start; a line of metrics, but no checkpoint
    fill(leave)
    try:
        train(fresh_model(), fresh_batches(), new_run(run.path, *STRAIGHT, "keep_checkpoints=1"), table_mean)
    except UserError as error:
        print(error)
    assert checkpoint.steps(run.checkpoints) == [2], checkpoint.steps(run.checkpoints)
(place / "filler").unlink()
print(train(fresh_model(), fresh_batches(), new_run(run.path, *STRAIGHT), table_mean).step)
"""


def test_a_really_full_disk_is_one_line_and_the_checkpoint_stays(tmp_path):
    """On a small file system of its own, where one may be mounted; else RLIMIT_FSIZE has to do (test_train_loop)."""
    place = tmp_path / "small"
    place.mkdir()
    inside = f'mount -t tmpfs -o size=2m none {place} && exec "$@"'
    shell = ["unshare", "--map-root-user", "--mount", "sh", "-c", inside, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*shell, "true"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    here = os.path.dirname(__file__)
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    done = subprocess.run(
        [*shell, sys.executable, "-c", FULL, str(place), here],
        env=os.environ | cache,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, second, last = done.stdout.strip().split("\n")
    assert "the last whole checkpoint is step 2; free some space" in first and "full" in first
    assert "the last whole checkpoint is step 2; free some space" in second
    assert last == "6"
