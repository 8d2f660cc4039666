"""Weights & Biases, the real package without a network."""

import json

import pytest
from test_train_loop import fresh_batches, fresh_model, new_run, table_mean

from saltjax.errors import UserError
from saltjax.train import metrics, wandblog
from saltjax.train.loop import train
from saltjax.train.run import Run

FEW = ("steps=3", "checkpoint_every=1", "keep_checkpoints=9", "eval_every=0", "wandb=salt")


def test_without_the_package_it_is_one_line(monkeypatch):
    monkeypatch.setattr(wandblog.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="wandb=salt needs the package wandb: pip install wandb"):
        wandblog.check_installed("salt")
    wandblog.check_installed("")


def records(data: bytes):
    """Of a .wandb file: LevelDB's log format. A record is in parts, and none crosses a border of 32 KiB."""
    at, parts = 7, b""  # behind the file's own header
    while at + 7 <= len(data):
        room = 2**15 - at % 2**15
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        if room < 7 or kind == 0:
            at += room
            continue
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or a last part
            yield parts
            parts = b""


def history(run: Run) -> list[tuple[str, list[dict]]]:
    """(run id, lines) of each time that the run ran, read from W&B's own files."""
    from wandb.proto import wandb_internal_pb2 as proto

    found = []
    for file in sorted(run.path.glob("wandb/offline-run-*/*.wandb"), key=lambda file: file.stat().st_mtime):
        name, lines = "", []
        for data in records(file.read_bytes()):
            record = proto.Record.FromString(data)
            name = record.run.run_id or name
            if items := record.history.item:
                lines.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
        found.append((name, lines))
    return found


def test_it_gets_every_line_and_a_resumed_run_goes_on_in_the_same_one(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = new_run(tmp_path / "run", *FEW)
    train(fresh_model(), fresh_batches(), run, table_mean)
    ((name, lines),) = history(run)
    assert [line["_step"] for line in lines] == [0, 1, 2, 3]
    written = metrics.read(run.metrics)
    assert [line["train/loss"] for line in lines if "train/loss" in line] == [x["loss"] for x in written if "loss" in x]
    assert lines[3]["bits_per_byte/mean"] == written[-1]["bits_per_byte"]["mean"]
    assert "train/mfu" not in lines[3]

    more = new_run(run.path, *FEW[1:], "steps=4")
    train(fresh_model(), fresh_batches(), more, table_mean)
    (_, second) = history(more)
    assert second[0] == name and [line["_step"] for line in second[1]] == [4]
