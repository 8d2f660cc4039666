import dataclasses
import json

import ml_dtypes
import numpy as np
import pytest

from saltjax.errors import UserError
from saltjax.train import metrics
from saltjax.train.config import AdaptConfig, MeshConfig, read_config
from saltjax.train.run import create, is_run, read, resume, stored_dtypes

CONFIG = AdaptConfig(steps=10, compute_dtype="float32")
INPUTS = {"model": "/models/a", "text": ["/t/de.txt"], "valid": {"de": "/v/de.txt"}, "fingerprint": "ab12"}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.mkdir()
    for name in ("config.json", "generation_config.json", "tokenizer.json", "vocab.txt", "spiece.model", "chat.jinja"):
        (path / name).write_text(name)
    for name in ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "README.md"):
        (path / name).write_text(name)
    return path


def made(tmp_path, source):
    dtypes = {"model.norm.weight": np.dtype(ml_dtypes.bfloat16), "lm_head.weight": np.dtype(np.float32)}
    return create(tmp_path / "run", CONFIG, INPUTS, source, dtypes)


def test_a_run_is_read_back_as_it_was_made(tmp_path, source):
    run = made(tmp_path, source)
    assert read(run.path) == run
    assert stored_dtypes(run) == {"model.norm.weight": ml_dtypes.bfloat16, "lm_head.weight": np.float32}
    assert json.loads((run.model / "tensors.json").read_text())["source"] == str(source)
    copied = {file.name for file in run.model.iterdir()} - {"tensors.json"}
    assert copied == {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "vocab.txt",
        "spiece.model",
        "chat.jinja",
    }
    assert {file.name for file in run.path.iterdir()} == {"config.yaml", "model"}


def test_a_run_appears_whole_or_not_at_all(tmp_path, source):
    (source / "tokenizer.json").unlink()
    (source / "tokenizer.json").symlink_to("/proc/self/mem")  # cannot be read
    with pytest.raises(OSError):
        made(tmp_path, source)
    assert [file.name for file in tmp_path.iterdir()] == ["source"]


def test_what_exists_and_is_no_run_is_refused(tmp_path, source):
    (tmp_path / "run").mkdir()
    assert not is_run(tmp_path / "run")
    with pytest.raises(UserError, match="is not a run"):
        made(tmp_path, source)
    with pytest.raises(UserError, match="not a run"):
        read(tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text("steps: 3\n")
    with pytest.raises(UserError, match=r"config\.yaml: damaged"):
        read(tmp_path / "run")


def test_auto_is_decided_when_the_run_is_made_and_stays(tmp_path, source):
    run = create(tmp_path / "run", AdaptConfig(), INPUTS, source, {})
    assert run.config.compute_dtype == "float32"
    assert resume(run.path, AdaptConfig(), INPUTS) == run


def test_lengths_intervals_and_mesh_may_change_and_are_written_down(tmp_path, source):
    made(tmp_path, source)
    changed = dataclasses.replace(
        CONFIG, steps=20, eval_every=7, checkpoint_every=8, keep_checkpoints=1, log_every=2, mesh=MeshConfig(2, 2, 2)
    )
    inputs = {**INPUTS, "valid": {"en": "/v/en.txt"}}
    run = resume(tmp_path / "run", changed, inputs)
    assert (run.config, run.inputs) == (changed, inputs)
    assert read(tmp_path / "run") == run


@pytest.mark.parametrize(
    ("override", "old", "new"),
    [
        ("learning_rate=0.5", "learning_rate=0.0001", "learning_rate=0.5"),
        ("seed=3", "seed=0", "seed=3"),
        ("batch_size=8", "batch_size=32", "batch_size=8"),
        ("compute_dtype=bfloat16", "compute_dtype=float32", "compute_dtype=bfloat16"),
        ("trainable=embeddings", "trainable=full", "trainable=embeddings"),
    ],
)
def test_a_changed_setting_is_refused_with_both_values(tmp_path, source, override, old, new):
    run = made(tmp_path, source)
    before = (run.path / "config.yaml").read_bytes()
    config = read_config(None, ["steps=10", override])
    with pytest.raises(UserError) as error:
        resume(run.path, config, INPUTS)
    assert old in str(error.value) and new in str(error.value) and "\n" not in str(error.value)
    assert (run.path / "config.yaml").read_bytes() == before


@pytest.mark.parametrize("change", [{"text": ["/t/ar.txt"]}, {"model": "/models/b"}, {"fingerprint": "cd"}])
def test_changed_inputs_are_refused(tmp_path, source, change):
    run = made(tmp_path, source)
    key = next(iter(change))
    with pytest.raises(UserError, match=f"{key}="):
        resume(run.path, CONFIG, {**INPUTS, **change})


def test_inputs_may_not_hide_a_setting(tmp_path, source):
    with pytest.raises(ValueError, match="steps"):
        create(tmp_path / "run", CONFIG, {"steps": 3}, source, {})


def test_metrics_beyond_a_step_are_cut_and_a_torn_line_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert metrics.read(path) == []
    metrics.cut(path, 3)
    assert not path.exists()
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 2, "bits_per_byte": {}}\n{"step": 3}\n{"step": 4, "lo')
    assert [line["step"] for line in metrics.read(path)] == [1, 2, 2, 3]
    metrics.cut(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 2, "bits_per_byte": {}}\n'


def test_a_wsd_run_is_prolonged_before_its_decay_only(tmp_path, source):
    config = dataclasses.replace(CONFIG, schedule="wsd", warmup_steps=2)
    run = create(tmp_path / "run", config, INPUTS, source, {})
    for step in (0, 7, 10):
        (run.checkpoints / str(step)).mkdir(parents=True)
    falling = dataclasses.replace(config, steps=13, decay_steps=3)  # from step 10 on
    assert resume(run.path, falling, INPUTS).config == falling
    longer = dataclasses.replace(falling, steps=20)
    assert resume(run.path, longer, INPUTS).config == longer  # nothing has fallen yet
    resume(run.path, falling, INPUTS)
    (run.checkpoints / "12").mkdir()
    with pytest.raises(UserError, match=r"falling since step 10 .*remove the checkpoints after step 10"):
        resume(run.path, longer, INPUTS)
    resume(run.path, falling, INPUTS)
    (run.checkpoints / "12").rmdir()
    resume(run.path, longer, INPUTS)
