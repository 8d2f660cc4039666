"""inspect --scores and --method auto from directory to directory."""

import json

import numpy as np
import pytest
import zoo
from typer.testing import CliRunner

from saltjax import api
from saltjax.cli.app import app
from saltjax.errors import UserError
from saltjax.models.load import load_model
from saltjax.models.vocabulary import with_tables

METHODS = ["mean", "ridge:ridge=0.3", "kernel-ridge"]


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """An English LLM with an untied head, a German PLM, German text and vectors of its words."""
    path = tmp_path_factory.mktemp("inspect")
    sentences = zoo.sentences("de")
    (path / "valid.txt").write_text("\n".join(sentences[:20]) + "\n", encoding="utf-8")
    zoo.llama(path / "llm")
    zoo.bert(path / "plm")
    words = sorted({word for sentence in sentences for word in sentence.split()})
    vectors = np.random.default_rng(0).normal(size=(len(words), 6))
    lines = [
        f"{len(words)} 6",
        *(f"{w} {' '.join(f'{x:.3f}' for x in v)}" for w, v in zip(words, vectors, strict=True)),
    ]
    (path / "words.vec").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def scored(room):
    return api.inspect(
        room / "llm", room / "plm", methods=METHODS, scores=True, text=[room / "valid.txt"], plot=room / "bars.png"
    )


def test_scores_of_every_table(room, scored):
    assert set(scored["scores"]) == set(scored["head_scores"]) == set(scored["step0"]) == set(METHODS)
    values = [s["mrr"] for s in scored["scores"].values()]
    assert values == sorted(values, reverse=True)
    assert scored["scores"]["kernel-ridge"]["r2"] != scored["head_scores"]["kernel-ridge"]["r2"]
    assert (room / "bars.png").read_bytes()[:4] == b"\x89PNG"
    json.dumps(scored)  # plain numbers only


def test_bits_per_byte_before_training_are_the_written_models(room, scored):
    """Measured in memory, and once more from the directory that `transfer` writes."""
    record = api.transfer(room / "llm", room / "plm", room / "new", method="ridge", options={"ridge": 0.3})
    found = api.evaluate(record["out"], ["bpb"], text=[room / "valid.txt"])
    got = scored["step0"]["ridge:ridge=0.3"]["bits_per_byte"]
    np.testing.assert_allclose(got, found["results"]["bpb"]["bits_per_byte"], rtol=1e-6)
    assert got != scored["step0"]["mean"]["bits_per_byte"]


def test_a_model_with_other_tables_shares_the_rest(room):
    model = load_model(room / "llm")
    width = model.config.hidden_size
    tables = {"model.embed_tokens.weight": np.ones((7, width)), "lm_head.weight": np.full((7, width), 2.0)}
    found = with_tables(model, tables)
    assert found.config.vocab_size == found.config.vocab_rows == 7
    assert found.params["embed"]["table"].shape == (7, width) and float(found.params["head"]["table"][0, 0]) == 2
    assert found.params["layers"]["attn"]["q"] is model.params["layers"]["attn"]["q"]
    assert model.params["embed"]["table"].shape[0] == model.config.vocab_rows  # the first one is as it was
    with pytest.raises(ValueError, match=r"lm_head\.weight"):
        with_tables(model, {"model.embed_tokens.weight": np.ones((7, width))})


def test_auto_takes_the_best_and_says_why(room):
    record = api.transfer(room / "llm", room / "plm", room / "auto", method="auto", aux=room / "words.vec")
    scores = record["auto"]["scores"]
    assert record["method"] == record["settings"]["method"] == max(scores, key=scores.get)
    assert f"rank {max(scores.values()):.3f}" in record["auto"]["why"]
    assert {"salt", "focus", "kernel-ridge", "mean"} <= set(scores) and "transtokens" in record["auto"]["skipped"]
    with pytest.raises(UserError, match="--method auto"):
        api.transfer(room / "llm", room / "plm", room / "no", method="auto", options={"noise": 1})


def test_the_command_prints_a_table_or_json(room):
    run = lambda *more: CliRunner().invoke(  # noqa: E731
        app, ["inspect", str(room / "llm"), str(room / "plm"), "--methods", "mean,kernel-ridge:noise=0.5", *more]
    )
    table = run()
    assert table.exit_code == 0 and "kernel-ridge:noise" in table.stdout and "anchors" in table.stdout
    record = json.loads(run("--json").stdout)
    assert set(record["scores"]) == {"mean", "kernel-ridge:noise=0.5"}


def test_mistakes(room):
    inspect = lambda **more: api.inspect(room / "llm", room / "plm", **more)  # noqa: E731
    for more, said in (
        ({"scores": True, "methods": ["focus"]}, "--method focus"),
        ({"scores": True, "methods": ["kernel-rigde"]}, "did you mean kernel-ridge"),
        ({"scores": True, "methods": ["salt:plm"]}, "KEY=VALUE"),
    ):
        with pytest.raises(UserError, match=said):
            inspect(**more)
