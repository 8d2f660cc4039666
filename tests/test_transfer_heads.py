"""Untied heads, output biases and norm calibration, against float64 NumPy."""

import gzip
import json
import shutil

import numpy as np
import pytest
import zoo
from transformers import AutoTokenizer

from saltjax import api
from saltjax.errors import UserError
from saltjax.hub.tensors import open_checkpoint
from saltjax.transfer.norms import calibrate

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
INPUT, HEAD, BIAS = "model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A Phi, whose untied head has a bias; a German decoder (untied) and a BERT (tied) to take vocabularies from."""
    path = tmp_path_factory.mktemp("heads")
    tokenizer = zoo.tokenizer("byte_bpe")
    torch.manual_seed(0)
    config = transformers.PhiConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, tie_word_embeddings=False, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=None,
    )  # fmt: skip
    model = transformers.PhiForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(3).add_(0.5 * model.model.embed_tokens.weight)
        model.lm_head.bias.copy_(model.lm_head.weight[:, 0])
    model.save_pretrained(path / "llm")
    tokenizer.save_pretrained(path / "llm")
    zoo.bert(path / "plm")
    zoo.llama(path / "decoder", text="de", tokenizer="sp_bpe", dtype="float32")
    zoo.llama(path / "tied", tied=True)
    (path / "de.txt").write_text("Das Haus ist klein.\nDas Haus\n")
    return path


@pytest.fixture(scope="module")
def moved(room, tmp_path_factory):
    done = {}

    def move(target="plm", **choice):
        key = (target, *sorted(choice.items()))
        if key not in done:
            out = tmp_path_factory.mktemp("out") / "new"
            arguments = {"text": [room / "de.txt"]} if choice.get("bias") == "unigram" else {}
            record = api.transfer(room / "llm", room / target, out, neighbours="plm", **arguments, **choice)
            done[key] = out, record
        return done[key]

    return move


def table(directory, name):
    return open_checkpoint(directory).read(name).astype(np.float64)


def origins(out):
    lines = gzip.decompress((out / "tokens.tsv.gz").read_bytes()).decode().split("\n")[1:-1]
    found = {}
    for line in lines:
        found.setdefault(line.split("\t")[3], []).append(int(line.split("\t")[0]))
    return {origin: np.array(ids) for origin, ids in found.items()}


def test_same_is_auto_and_copies_keep_the_heads_own_rows(room, moved):
    out, _ = moved()
    same, _ = moved(head="same")
    assert (same / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    for choice in ("auto", "map", "scale"):
        directory, _ = moved(head=choice)
        kinds = origins(directory)
        for kind in ("copied", "special", "fallback"):
            np.testing.assert_array_equal(table(directory, HEAD)[kinds[kind]], table(out, HEAD)[kinds[kind]])
        assert (table(directory, INPUT) == table(out, INPUT)).all()
        assert (table(directory, HEAD)[kinds["fitted"]] != table(out, HEAD)[kinds["fitted"]]).any() == (
            choice != "auto"
        )


def used(room):
    return sorted(AutoTokenizer.from_pretrained(room / "llm").get_vocab().values())


def test_map_is_ridge_regression_over_the_source_vocabulary(room, moved):
    out, record = moved(head="map")
    e, w = table(room / "llm", INPUT)[used(room)], table(room / "llm", HEAD)[used(room)]
    centred, wanted = e - e.mean(0), w - w.mean(0)
    # Ridge as least squares with extra rows.
    weight = 1e-4 * np.trace(centred.T @ centred) / 16
    tall = np.vstack([centred, np.sqrt(weight) * np.eye(16)])
    matrix = np.linalg.lstsq(tall, np.vstack([wanted, np.zeros((16, 16))]), rcond=None)[0]
    new = origins(out)["fitted"]
    rows = (table(out, INPUT)[new] - e.mean(0)) @ matrix + w.mean(0)
    np.testing.assert_allclose(table(out, HEAD)[new], rows, atol=2e-6)
    unexplained = np.linalg.norm(wanted - centred @ matrix) / np.linalg.norm(wanted)
    assert record["head"]["map_unexplained"] == pytest.approx(unexplained, rel=1e-9)


def test_scale_is_the_input_row_at_the_heads_mean_norm(room, moved):
    out, record = moved(head="scale")
    e, w = table(room / "llm", INPUT)[used(room)], table(room / "llm", HEAD)[used(room)]
    ratio = np.linalg.norm(w, axis=1).mean() / np.linalg.norm(e, axis=1).mean()
    assert record["head"]["scale"] == pytest.approx(ratio, rel=1e-9)
    new = origins(out)["fitted"]
    np.testing.assert_allclose(table(out, HEAD)[new], ratio * table(out, INPUT)[new], rtol=1e-5)


def test_rerun_solves_again_with_the_plms_output_rows(room, moved):
    out, _ = moved("decoder", head="rerun")
    plain, _ = moved("decoder")
    assert (table(out, INPUT) == table(plain, INPUT)).all()
    new = origins(out)["fitted"]
    assert np.abs(table(out, HEAD)[new] - table(plain, HEAD)[new]).max() > 1e-3
    # The same as a transfer from a PLM whose input table is that output table.
    model = transformers.LlamaForCausalLM.from_pretrained(room / "decoder")
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(model.lm_head.weight)
    shutil.copytree(room / "decoder", room / "swapped")
    model.save_pretrained(room / "swapped")
    again, _ = moved("swapped")
    np.testing.assert_array_equal(table(out, HEAD)[new], table(again, HEAD)[new])


def test_rerun_of_a_tied_plm_is_the_same_and_says_so(moved):
    out, record = moved(head="rerun")
    assert (table(out, HEAD) == table(moved()[0], HEAD)).all()
    assert any("same as --head same" in note for note in record["notes"])


def test_biases(room, moved):
    source = table(room / "llm", BIAS)
    mixed, zero, unigram = (table(moved(bias=bias)[0], BIAS) for bias in ("mixed", "zero", "unigram"))
    kinds = origins(moved()[0])
    np.testing.assert_array_equal(mixed[kinds["copied"]], zero[kinds["copied"]])
    assert set(mixed[kinds["copied"]]) <= set(source)
    assert (zero[kinds["fitted"]] == 0).all() and (zero[kinds["fallback"]] == 0).all()
    # The source's bias is the first column of its head, and a rule treats columns alike.
    np.testing.assert_allclose(mixed[kinds["fitted"]], table(moved()[0], HEAD)[kinds["fitted"], 0], atol=1e-6)
    tokenizer = AutoTokenizer.from_pretrained(room / "plm")
    counts = np.zeros(len(mixed))
    for line in ("Das Haus ist klein.", "Das Haus"):
        for token in [*tokenizer(line, add_special_tokens=False)["input_ids"], tokenizer.sep_token_id]:
            counts[token] += 1
    expected = np.log((counts + 1) / (counts.sum() + len(counts)))
    np.testing.assert_allclose(unigram, expected, rtol=1e-6)


def test_new_rows_get_the_lengths_of_shared_ones(room, moved):
    out, record = moved(norms="calibrate")
    plain, _ = moved()
    kinds = origins(out)
    for name in (INPUT, HEAD):
        source, before, after = table(room / "llm", name), table(plain, name), table(out, name)
        np.testing.assert_array_equal(before[kinds["copied"]], after[kinds["copied"]])
        shared = before[kinds["copied"]]
        assert len(shared) == record["anchors"]
        mean = shared.mean(0)
        short, long = (rows[kinds["fitted"]] - mean for rows in (before, after))
        lengths = np.linalg.norm(short, axis=1)
        ranks = np.argsort(np.argsort(lengths))
        wanted = np.quantile(np.linalg.norm(shared - mean, axis=1), (ranks + 0.5) / len(ranks))
        np.testing.assert_allclose(long, short * (wanted / lengths)[:, None], atol=1e-6)
        assert source.shape[1] == 16
    assert (table(out, BIAS) == table(plain, BIAS)).all()


def test_a_row_in_the_middle_stays_there():
    source = np.array([[1.0, 0], [-1, 0], [0, 3], [0, -3]], np.float32)
    rows = np.array([[0, 0], [0.1, 0], [7, 7]], np.float32)
    calibrate(rows, np.array([0, 1]), source, np.arange(4))
    np.testing.assert_allclose(rows, [[0, 0], [3, 0], [7, 7]], atol=1e-6)


def test_choices_without_room_are_refused(room, tmp_path):
    for source, target, choice, message in (
        ("llm", "plm", {"head": "other"}, "auto, same, rerun, map and scale"),
        ("llm", "plm", {"bias": "other"}, "mixed, zero and unigram"),
        ("llm", "plm", {"norms": "other"}, "keep and calibrate"),
        ("llm", "plm", {"bias": "unigram"}, "--text"),
        ("tied", "plm", {"head": "map"}, "tied"),
        ("tied", "plm", {"bias": "zero"}, "no bias"),
    ):
        with pytest.raises(UserError, match=message):
            api.transfer(room / source, room / target, tmp_path / "out", neighbours="plm", **choice)
        assert not (tmp_path / "out").exists()


def test_transformers_takes_the_result(room, moved):
    out, _ = moved(head="map", bias="unigram", norms="calibrate")
    assert json.loads((out / "transfer.json").read_text())["settings"]["bias"] == "unigram"
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    ids = torch.tensor([AutoTokenizer.from_pretrained(out)("Das Haus")["input_ids"]])
    assert torch.isfinite(model(ids).logits).all()
