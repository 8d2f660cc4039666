"""The benchmark that trains a language's neurons: every arm in one table, and nothing is trained twice."""

import sys
from pathlib import Path

import numpy as np
import pytest
import zoo
from neuronal import files

from saltjax.neurons.files import write_neurons

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import neuron_tuning


@pytest.mark.slow
def test_all_arms_in_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    zoo.llama(tmp_path / "m", dtype="float32", initializer_range=0.3)
    (tmp_path / "n").mkdir()
    chosen = np.random.default_rng(0).random((2, 2, 48)) < 0.2
    write_neurons(tmp_path / "n", "lape", "post", ["de", "vi"], chosen, {"model_sha256": "abc"})
    text = {language: f"{language}={path}" for language, path in files(tmp_path).items()}
    words = [
        "neuron_tuning.py", tmp_path / "w", tmp_path / "n", "steps=2", "batch_size=8", "seq_len=16", "warmup_steps=0",
        "--model", tmp_path / "m", "--text", text["de"], "--valid", text["en"], text["de"], "--draws", "1",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    neuron_tuning.main()
    table = capsys.readouterr().out
    lines = [line.split(" | ") for line in table.splitlines()]
    assert lines[0][1:] == ["what learns", "en", "de |"] and len(lines) == 2 + 1 + 5
    assert lines[3][1] == f"its neurons, full-rank ({chosen[0].sum()})"
    changes = [line[3] for line in lines[3:]]
    assert len(set(changes)) == 5 and all(float(change.rstrip(" |")) < 0 for change in changes)  # German is learned
    runs = {path: path.stat().st_mtime_ns for path in (tmp_path / "w" / "runs").rglob("*")}
    neuron_tuning.main()
    assert capsys.readouterr().out == table
    assert runs == {path: path.stat().st_mtime_ns for path in (tmp_path / "w" / "runs").rglob("*")}
