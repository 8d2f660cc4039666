"""The whole command: results, what is kept, going on after an interruption, comparison, mistakes."""

import json
import sys

import evaluation_sets
import numpy as np
import pytest
import zoo

from saltjax import api
from saltjax.cli import main
from saltjax.errors import UserError
from saltjax.evaluate import measure

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluate")
    evaluation_sets.write(path / "sets")
    for seed in (0, 1):
        zoo.llama(
            path / f"m{seed}", dtype="float32", text="de", seed=seed, max_position_embeddings=512, initializer_range=0.3
        )
    return path


@pytest.fixture(scope="module")
def first(room):
    """Both kinds of task, answers kept."""
    return api.evaluate(room / "m0", ["xnli:de", "xquad:de"], data=room / "sets", out=room / "a")


@pytest.fixture
def saltjax(monkeypatch, capfd):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["saltjax", *map(str, arguments)])
        capfd.readouterr()
        status = 0
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
        return status, *capfd.readouterr()

    return run


def test_results(first, room):
    for name, metrics, n in (("xnli:de", ("acc", "acc_norm"), 12), ("xquad:de", ("f1", "exact_match"), 12)):
        found = first["results"][name]
        rows = [
            json.loads(line) for line in (room / "a" / f"{name.replace(':', '.')}.jsonl").read_text().split("\n")[:-1]
        ]
        assert found["n"] == len(rows) == n and set(found["intervals"]) == set(metrics)
        for metric in metrics:
            assert found[metric] == pytest.approx(np.mean([row["scores"][metric] for row in rows]))
        assert found["interval"] == found["intervals"][metrics[0]] and found["source"].startswith(name[:4])
        assert found["interval"] is None or found["interval"][0] <= found[metrics[0]] <= found["interval"][1]
    assert json.loads((room / "a" / "results.json").read_text())["results"].keys() == first["results"].keys()


def test_what_was_answered_is_not_answered_again(first, room, monkeypatch):
    """Interrupted within a line and before others: only what is missing is computed, and the result is the same."""
    kept = {name: (room / "a" / name).read_text() for name in ("xnli.de.jsonl", "xquad.de.jsonl")}
    asked = []
    real = measure.loglikelihoods
    monkeypatch.setattr(
        measure, "loglikelihoods", lambda model, pairs, **how: asked.append(len(pairs)) or real(model, pairs, **how)
    )
    (room / "a" / "xnli.de.jsonl").write_text(kept["xnli.de.jsonl"][:-25])
    told = []
    again = api.evaluate(
        room / "m0", ["xnli:de", "xquad:de"], data=room / "sets", out=room / "a", progress=lambda *now: told.append(now)
    )
    assert asked == [1] and again["results"]["xnli:de"]["acc"] == first["results"]["xnli:de"]["acc"]
    assert told[0] == ("xnli:de", 11, 12) and ("xquad:de", 12, 12) in told
    rows = [json.loads(line) for line in (room / "a" / "xnli.de.jsonl").read_text().split("\n")[:-1]]
    assert sorted(row["number"] for row in rows) == list(range(12))
    limited = api.evaluate(room / "m0", ["xnli:de"], data=room / "sets", out=room / "a", limit=5)["results"]["xnli:de"]
    assert limited["n"] == 5 and asked == [1]


def test_answers_of_other_questions_or_models_are_not_mixed_in(first, room, tmp_path):
    with pytest.raises(UserError, match="made with model"):
        api.evaluate(room / "m1", ["xnli:de"], data=room / "sets", out=room / "a")
    with pytest.raises(UserError, match="made with shots=0, not 2"):
        api.evaluate(room / "m0", ["xnli:de"], data=room / "sets", out=room / "a", shots=2)
    other = evaluation_sets.write(tmp_path / "sets")
    path = other / "xnli/dev-de.tsv"
    path.write_text(path.read_text().replace("Uhr", "Stunde").replace("e", "é", 3))
    with pytest.raises(UserError, match="line 1: question 0 was answered with other data"):
        api.evaluate(room / "m0", ["xnli:de"], data=other, out=room / "a")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UserError, match="no result of evaluate"):
        api.evaluate(room / "m0", ["xnli:de"], data=other, out=tmp_path / "full")


def test_two_results_and_two_models_are_compared(first, room, saltjax):
    api.evaluate(room / "m1", ["xnli:de", "m_mmlu:de"], data=room / "sets", out=room / "b")
    status, out, err = saltjax("evaluate", "--compare", room / "a", room / "b", "--json")
    assert status == 0, err
    found = json.loads(out)["results"]
    assert set(found) == {"xnli:de"}  # the task that both have
    one = found["xnli:de"]["acc"]
    assert one["b"] - one["a"] == pytest.approx(one["difference"]) and one["test"] == "McNemar, exact"
    assert one["a"] == first["results"]["xnli:de"]["acc"] and found["xnli:de"]["n"] == 12 and 0 < one["p"] <= 1

    status, out, err = saltjax("evaluate", "--compare", room / "m0", room / "m1", "xnli:de", "--data", room / "sets")
    assert status == 0, err
    assert "McNemar" in out and f"{100 * one['a']:.2f}" in out and f"{100 * one['difference']:+.2f}" in out


def test_the_command(room, saltjax):
    status, out, err = saltjax(
        "evaluate", "--data", room / "sets", room / "m0", "mgsm:de", "m_mmlu:de", "--limit", 2, "--shots", 1,
        "--seq-len", 100, "--json",
    )  # fmt: skip
    assert status == 0, err
    record = json.loads(out)
    assert record["shots"] == 1 and record["seq_len"] == 100
    assert record["results"]["mgsm:de"]["n"] == record["results"]["m_mmlu:de"]["n"] == 2
    assert record["results"]["m_mmlu:de"]["truncated"] == 8 and "lost their beginning" in err
    status, out, err = saltjax("evaluate", room / "m0", "m_mmlu:de", "--data", room / "sets", "--limit", 2)
    assert status == 0 and "m_mmlu:de" in out and "acc_norm" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "{room}/m0"), "at least one task"),
        (("evaluate", "{room}/m0", "xnli:de", "--data", "{room}/none"), "does not exist"),
        (("evaluate", "{room}/m0", "xnli:de", "--data", "{room}/sets", "--limit", "0"), "--limit 0 must"),
        (("evaluate", "{room}/m0", "gsm8k", "--seq-len", "0", "--batch-size", "0"), "--seq-len 0, --batch-size 0 must"),
        (("evaluate", "{room}/m0", "gsm8k", "--data", "{room}/sets", "--shots", "99"), "99 shots"),
        (("evaluate", "{room}/none", "xnli:de", "--data", "{room}/sets"), "none"),
        (("evaluate", "--compare", "{room}/m0", "{room}/m1"), "not a result of evaluate"),
        (("evaluate", "--compare", "{room}/m0", "{room}/m1", "bpb"), "bpb"),
    ],
)
def test_mistakes(room, saltjax, arguments, message):
    status, out, err = saltjax(*(word.format(room=room) for word in arguments))
    assert status == 2 and message in err and len(err.strip().split("\n")) == 1 and out == ""
