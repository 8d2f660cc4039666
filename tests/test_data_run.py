"""A whole run on a mixture: what it says of the data, and that it resumes in the middle of it."""

import json
import shutil

import pytest
import zoo

from saltjax import api
from saltjax.errors import UserError
from saltjax.train.meter import SPEED

SETTINGS = [
    "steps=6",
    "seq_len=32",
    "batch_size=8",
    "log_every=1",
    "eval_every=0",
    "checkpoint_every=3",
    "warmup_steps=1",
]


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    zoo.llama(path / "llm")
    rows = "".join(json.dumps({"body": line}) + "\n" for line in zoo.sentences("de"))
    (path / "de.jsonl").write_text(rows, encoding="utf-8")
    (path / "en.txt").write_text("\n".join(zoo.sentences("en", 8)) + "\n", encoding="utf-8")
    (path / "config.yaml").write_text(
        f"data:\n- {{path: {path}/de.jsonl, field: body}}\n- {{path: {path}/en.txt, weight: 0.3, name: replay}}\n"
        f"cache: {path}/cache\n"
    )
    return path


def clockless(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().split("\n") if line]
    return [{k: v for k, v in line.items() if k not in (*SPEED, "seconds")} for line in lines]


def test_a_mixture_is_accounted_for_and_resumed_exactly(room, capfd):
    record = api.adapt(room / "llm", room / "a", config=room / "config.yaml", overrides=SETTINGS)
    err = capfd.readouterr().err
    assert "de: 400 documents" in err and "70.0% of the tokens" in err and "replay: 8 documents" in err
    de, replay = record["data"]["sources"]
    assert (de["name"], de["share"], replay["name"], replay["share"]) == ("de", 0.7, "replay", 0.3)
    seen = de["tokens_seen"] + replay["tokens_seen"]
    assert replay["tokens_seen"] / seen == pytest.approx(0.3, abs=0.02)
    assert replay["epochs"] > 1 > de["epochs"] > 0
    lines = clockless(room / "a")
    assert lines[-1]["tokens_seen"] == {"de": de["tokens_seen"], "replay": replay["tokens_seen"]}
    assert lines[-1]["epochs"] == {
        "de": pytest.approx(de["epochs"], abs=1e-4),
        "replay": pytest.approx(replay["epochs"], abs=1e-4),
    }

    shutil.copytree(room / "a", room / "killed")
    shutil.rmtree(room / "killed" / "checkpoints" / "6")
    again = api.adapt(room / "llm", room / "killed", config=room / "config.yaml", overrides=SETTINGS)
    assert clockless(room / "killed") == lines
    assert again["loss"] == record["loss"] and again["data"] == record["data"]

    # Weights decide what is computed; the place of the cache does not.
    text = (room / "config.yaml").read_text()
    (room / "other.yaml").write_text(text.replace("0.3", "0.4"))
    with pytest.raises(UserError, match="this run has data="):
        api.adapt(room / "llm", room / "a", config=room / "other.yaml", overrides=SETTINGS)
    api.adapt(room / "llm", room / "a", config=room / "config.yaml", overrides=[*SETTINGS, f"cache={room}/elsewhere"])


def test_text_is_given_in_one_way(room):
    for more in ({"text": [room / "en.txt"]}, {"tfds": "x"}):
        with pytest.raises(UserError, match="--text FILE"):
            api.adapt(room / "llm", room / "b", config=room / "config.yaml", **more)
    with pytest.raises(UserError, match="--text FILE"):
        api.adapt(room / "llm", room / "b")
    with pytest.raises(UserError, match="sum to 1 and leave nothing"):
        text = [room / "en.txt", f"{room}/en.txt=1.0"]
        api.adapt(room / "llm", room / "b", text=text, overrides=[*SETTINGS, f"cache={room}/cache"])
    with pytest.raises(UserError, match="must be a local directory"):
        api.adapt(room / "llm", room / "b", text=[room / "en.txt"], overrides=["cache=gs://bucket/cache"])
    assert not (room / "b").exists()
