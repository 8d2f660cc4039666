"""Whole commands through the program's own entry point: what is printed where, exit status, what is left on disk."""

import json
import signal
import subprocess
import sys
import time

import pytest
import zoo

from saltjax.cli import main
from saltjax.cli.arguments import one_value_each

TRAIN = ["seq_len=48", "batch_size=8", "learning_rate=1e-3", "warmup_steps=2", "log_every=2", "eval_every=4"]


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli")
    (path / "de.txt").write_text("\n".join(zoo.sentences("de")) + "\n", encoding="utf-8")
    (path / "held.txt").write_text("\n".join(zoo.sentences("de")[-40:]) + "\n", encoding="utf-8")
    zoo.llama(path / "llm")
    zoo.bert(path / "plm")
    return path


@pytest.fixture
def saltjax(monkeypatch, capfd):
    """Run a command line; returns (status, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["saltjax", *map(str, arguments)])
        capfd.readouterr()
        status = 0
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
        out, err = capfd.readouterr()
        return status, out, err

    return run


def test_the_three_commands(room, saltjax):
    status, out, err = saltjax(
        "transfer", room / "llm", room / "plm", room / "new", "--aux-text", room / "de.txt", "--json"
    )
    assert status == 0, err
    record = json.loads(out)
    assert {"out", "method", "seconds", "tokens", "k", "anchors", "peak_memory_bytes"} <= set(record)
    assert set(record["tokens"]) == {"total", "copied", "fitted", "special", "fallback"}
    assert set(record["k"]) == {"median", "p90", "max"}
    assert record["seconds"] > 0 and record["peak_memory_bytes"] > 1 << 20

    adapt = ("adapt", room / "new", room / "run", "--text", room / "de.txt", *TRAIN)
    adapt += ("--valid", f"held={room / 'held.txt'}", "--json")
    status, out, err = saltjax(*adapt, "steps=4")
    assert status == 0, err
    first = json.loads(out)
    assert first["steps"] == 4 and first["valid"]["held"] > 0 and first["tokens_per_second"] > 0
    assert "ETA" in err or "left" in err or "step" in err
    status, out, err = saltjax(*adapt, "steps=8")  # the same command, longer: it resumes
    assert status == 0, err
    assert json.loads(out)["steps"] == 8
    steps = [json.loads(line)["step"] for line in (room / "run" / "metrics.jsonl").read_text().split("\n") if line]
    assert steps == sorted(steps) and steps[-1] == 8
    assert list((room / "run" / "plots").glob("*.png")) and (room / "run" / "config.yaml").exists()

    status, out, err = saltjax("export", room / "run", room / "back", "--json")
    assert status == 0, err
    assert json.loads(out)["max_abs_logit_difference"] < 1e-3

    status, out, err = saltjax("evaluate", room / "back", "bpb", "--text", room / "held.txt", "--seq-len", 48, "--json")
    assert status == 0, err
    found = json.loads(out)["results"]["bpb"]
    assert found["bytes"] == sum(len(s.encode()) for s in zoo.sentences("de")[-40:])
    # The trained parameters were float32; the exported file has the source's bfloat16.
    trained = json.loads((room / "run" / "metrics.jsonl").read_text().strip().split("\n")[-1])["bits_per_byte"]["held"]
    assert found["bits_per_byte"] == pytest.approx(trained, rel=2e-2)


def test_people_get_tables_and_silence(room, saltjax):
    status, out, err = saltjax("inspect", room / "llm", room / "plm")
    assert status == 0 and "coverage" in out and "anchors" in out
    assert err == ""
    status, out, err = saltjax("inspect", room / "llm", room / "plm", "--json")
    assert {"tokens", "anchors", "coverage", "fertility"} <= set(json.loads(out))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("transfer", "{room}/none", "{room}/plm", "{tmp}/out", "--neighbours", "plm"), "none"),
        (("transfer", "{room}/llm", "{room}/plm", "{room}/llm", "--neighbours", "plm"), "--overwrite"),
        (("adapt", "{room}/llm", "{tmp}/out", "--text", "{room}/de.txt", "stepz=3"), "'steps'"),
        (("adapt", "{room}/llm", "{tmp}/out", "--text", "{room}/de.txt", "steps=many"), "steps"),
        (("adapt", "{room}/llm", "{tmp}/out", "--text", "{room}/none.txt", "steps=1", "batch_size=8"), "none.txt"),
        (("adapt", "{room}/llm", "{tmp}/out", "steps=1"), "--text"),
        (("adapt", "{room}/llm", "{tmp}/out", "--text", "{room}/de.txt", "mesh.data=999"), "999"),
        (("adapt", "{room}/plm", "{tmp}/out", "--text", "{room}/de.txt", "batch_size=8"), "BertForMaskedLM"),
        (("adapt", "{room}/llm", "{tmp}/out", "--text", "{room}/de.txt", "seq_len=4096", "batch_size=8"), "4096"),
        (("export", "{room}/llm", "{tmp}/out"), "not a run"),
        (("evaluate", "{room}/llm", "chess"), "chess"),
        (("evaluate", "{room}/llm", "bpb"), "--text"),
    ],
)
def test_mistakes_end_with_2_one_line_and_nothing_on_disk(room, saltjax, tmp_path, arguments, message):
    status, out, err = saltjax(*(word.format(room=room, tmp=tmp_path) for word in arguments))
    assert status == 2
    assert message in err and len(err.strip().split("\n")) == 1 and "Traceback" not in err
    assert out == "" and list(tmp_path.iterdir()) == []


def test_a_changed_setting_is_not_resumed(room, saltjax, tmp_path):
    adapt = ("adapt", room / "llm", tmp_path / "run", "--text", room / "de.txt", *TRAIN, "steps=0")
    assert saltjax(*adapt)[0] == 0
    status, _, err = saltjax(*adapt, "learning_rate=5e-4")
    assert status == 2 and "learning_rate=0.001" in err and "0.0005" in err


def test_an_unknown_option_is_a_mistake_too(saltjax):
    assert saltjax("transfer", "a", "b", "c", "--colour")[0] == 2


def test_options_of_several_values():
    assert one_value_each("adapt m r --text a b steps=3 --valid x=y".split()) == (
        "adapt m r --text a --text b steps=3 --valid x=y".split()
    )
    assert (
        one_value_each("transfer s t o --aux-text a=b c".split())
        == "transfer s t o --aux-text a=b --aux-text c".split()
    )
    assert one_value_each("neighbours".split()) == ["neighbours"]
    assert one_value_each("neurons find m o --text de=a en=b".split()) == (
        "neurons find m o --text de=a --text en=b".split()
    )
    assert one_value_each("adapt m r --text".split()) == "adapt m r --text".split()
    assert one_value_each("neurons tune m r n de --valid de=a.txt en=b.txt.xz steps=3".split()) == (
        "neurons tune m r n de --valid de=a.txt --valid en=b.txt.xz steps=3".split()
    )


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_transfer_leaves_nothing(room, tmp_path, name):
    command = ["transfer", room / "llm", room / "plm", tmp_path / "deep" / "out", "--aux-text", room / "de.txt"]
    code = "from saltjax.cli import main; main()"
    running = subprocess.Popen([sys.executable, "-c", code, *map(str, command)], stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("deep/.out.*")):  # the hidden directory that it writes into
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.01)
    running.send_signal(getattr(signal, name))
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert err.startswith("saltjax: interrupted") and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
