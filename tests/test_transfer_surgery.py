"""A transfer from directory to directory: what is copied, what is new, and that transformers takes the result."""

import gzip
import json
import shutil

import numpy as np
import pytest
import zoo
import zoo_plms
from safetensors import safe_open
from transformers import AutoTokenizer

from saltjax import api
from saltjax.data.corpus import TextFile
from saltjax.errors import UserError
from saltjax.hub.shards import copy_checkpoint
from saltjax.hub.tensors import open_checkpoint
from saltjax.transfer.methods.gaussian import Gaussian
from saltjax.vocab.auxiliary import train_auxiliary
from saltjax.vocab.vocabulary import normalizer_of, read_vocabulary, word


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """An English LLM, a German PLM and German text."""
    path = tmp_path_factory.mktemp("transfer")
    (path / "de.txt").write_text("\n".join(zoo.sentences("de")) + "\n", encoding="utf-8")
    zoo.llama(path / "llm", shard="40KB")
    zoo.bert(path / "plm")
    return path


@pytest.fixture(scope="module")
def moved(room):
    record = api.transfer(room / "llm", room / "plm", room / "new", aux_text=[room / "de.txt"])
    return room / "new", record


def bits(directory):
    checkpoint = open_checkpoint(directory)
    return {name: (e.dtype, e.shape, b"".join(checkpoint.chunks(name))) for name, e in checkpoint.entries.items()}


def tokens_of(directory):
    lines = gzip.decompress((directory / "tokens.tsv.gz").read_bytes()).decode().rstrip("\n").split("\n")
    header = lines[0].split("\t")
    return [dict(zip(header, line.split("\t"), strict=True)) for line in lines[1:]]


def test_everything_but_the_vocabulary_is_copied_bit_for_bit(room, moved):
    before, after = bits(room / "llm"), bits(moved[0])
    tables = {"model.embed_tokens.weight", "lm_head.weight"}
    assert set(before) == set(after)
    assert {name for name in before if before[name] != after[name]} == tables
    for name in tables:
        assert after[name][:2] == ("BF16", (400, 32))
    assert (moved[0] / "model.safetensors.index.json").exists()  # in shards, as it came
    with safe_open(next(moved[0].glob("model-00001*")), "np") as shard:
        assert shard.metadata() == {"format": "pt"}


def test_rows_are_the_source_rows_or_their_mixtures(room, moved):
    directory, record = moved
    lines = tokens_of(directory)
    old = AutoTokenizer.from_pretrained(room / "llm")
    counts = {origin: sum(line["origin"] == origin for line in lines) for origin in ("copied", "fitted", "special")}
    assert counts == {key: record["tokens"][key] for key in counts}
    assert sum(record["tokens"][k] for k in ("copied", "fitted", "special", "fallback")) == record["tokens"]["total"]
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        source, new = (open_checkpoint(d).read(name).astype(np.float32) for d in (room / "llm", directory))
        for line in lines:
            nearest = line["nearest"].replace("\\s", " ").replace("\\\\", "\\").split(" ")
            if line["origin"] in ("copied", "special"):
                assert (new[int(line["id"])] == source[old.convert_tokens_to_ids(nearest[0])]).all()
        fitted = [int(line["id"]) for line in lines if line["origin"] == "fitted"]
        assert np.linalg.matrix_rank(new[fitted]) == 32  # not one row for all, and not zeros
        assert np.isfinite(new).all()


def test_fitted_rows_equal_the_paper_on_the_whole_path(room, moved):
    """The rows in the file against pinv in float64, with the neighbours taken from the report's own inputs."""
    tokenizer = AutoTokenizer.from_pretrained(room / "plm")
    space = train_auxiliary([TextFile(room / "de.txt")], 0, normalizer_of(tokenizer))
    tokens = {token.id: token for token in read_vocabulary(tokenizer).tokens}
    lines = {int(line["id"]): line for line in tokens_of(moved[0])}
    old = AutoTokenizer.from_pretrained(room / "llm")
    vectors = space.vectors([word(tokens[i]) for i in range(len(lines))]).astype(np.float64)
    plm = open_checkpoint(room / "plm").read("bert.embeddings.word_embeddings.weight").astype(np.float64)
    source = open_checkpoint(room / "llm").read("model.embed_tokens.weight").astype(np.float64)
    new = open_checkpoint(moved[0]).read("model.embed_tokens.weight").astype(np.float64)
    anchors = [i for i, line in lines.items() if line["origin"] == "copied" and vectors[i].any()]
    assert len(anchors) == moved[1]["anchors"]
    back = [old.convert_tokens_to_ids(lines[i]["nearest"].replace("\\\\", "\\")) for i in anchors]
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    for i in [i for i, line in lines.items() if line["origin"] == "fitted"][:60]:
        z = unit[anchors] @ unit[i]
        order = np.sort(z)[::-1]
        ranks = np.arange(1, len(z) + 1)
        k = np.max(ranks[1 + ranks * order > np.cumsum(order)])
        assert k == int(lines[i]["k"])
        near = np.argsort(-z, kind="stable")[:k]
        want = plm[i] @ np.linalg.pinv(plm[[anchors[j] for j in near]], rcond=1e-9) @ source[[back[j] for j in near]]
        assert np.abs(new[i] - want).max() <= 2**-8 * np.abs(want).max()  # half a bfloat16 step


def test_transformers_loads_and_generates(moved):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    model, tokenizer = (cls.from_pretrained(moved[0]) for cls in (AutoModelForCausalLM, AutoTokenizer))
    assert model.get_input_embeddings().weight.shape[0] == model.config.vocab_size == 400
    inputs = tokenizer("Das Haus ist klein.", return_tensors="pt")
    assert set(inputs) == {"input_ids", "attention_mask"}
    ids = inputs["input_ids"][0].tolist()
    assert ids[0] == tokenizer.bos_token_id == tokenizer.convert_tokens_to_ids("[CLS]")
    assert tokenizer.convert_tokens_to_ids("[SEP]") not in ids
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == tokenizer.convert_tokens_to_ids("[SEP]")
    out = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert out.shape[1] > len(ids)
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" .", ".") == "Das Haus ist klein."
    assert not torch.isnan(model(**inputs).logits).any()


def test_same_inputs_give_the_same_bytes(room, moved, tmp_path):
    again = tmp_path / "again"
    api.transfer(room / "llm", room / "plm", again, aux_text=[room / "de.txt"])
    for file in sorted(moved[0].iterdir()):
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name
    assert sorted(p.name for p in again.iterdir()) == sorted(p.name for p in moved[0].iterdir())


@pytest.mark.parametrize(
    "source, target",
    [
        (lambda p: zoo.llama(p, tied=True, tokenizer="sp_bpe", dtype="float16"), zoo.roberta),
        (lambda p: zoo.gemma(p, vocab_rows=704), zoo.t5),
        (zoo.gpt2, lambda p: zoo.gpt2(p, text="de")),
        (lambda p: zoo.xglm(p, text="en"), zoo.bert),
    ],
    ids=["llama-tied-f16<-roberta", "gemma-padded<-t5", "gpt2<-gpt2", "xglm<-bert"],
)
@pytest.mark.parametrize("method", ["salt", "gaussian"])
def test_any_architecture(tmp_path, source, target, method):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    source(tmp_path / "s")
    target(tmp_path / "t")
    options = {"neighbours": "plm"} if method == "salt" else {}
    record = api.transfer(tmp_path / "s", tmp_path / "t", tmp_path / "out", method=method, options=options)
    assert record["tokens"]["fitted"] > 100
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert model.get_input_embeddings().weight.shape[0] == record["tokens"]["total"]
    ids = tokenizer("Das Haus ist klein.")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and ids[-1] != tokenizer.eos_token_id
    assert torch.isfinite(model(torch.tensor([ids])).logits).all()
    head = model.get_output_embeddings().weight
    assert head.shape[0] == record["tokens"]["total"]
    if model.config.tie_word_embeddings:
        assert torch.equal(head, model.get_input_embeddings().weight)


def test_chat_template_is_kept_where_its_tokens_survive(tmp_path):
    zoo.llama(tmp_path / "plain", chat_template=zoo.CHAT)
    zoo.llama(tmp_path / "marked", chat_template="<|eot_id|>{{ messages[0]['content'] }}")
    zoo.bert(tmp_path / "plm")
    for name, kept in (("plain", True), ("marked", False)):
        record = api.transfer(tmp_path / name, tmp_path / "plm", tmp_path / f"{name}-out", method="gaussian")
        assert (tmp_path / f"{name}-out" / "chat_template.jinja").exists() == kept
        assert any("chat template" in note for note in record["notes"]) == (not kept)


def test_the_gaussian_has_the_tables_mean_and_covariance(room, tmp_path):
    rng = np.random.default_rng(0)
    table = (rng.normal(size=(3000, 6)) @ rng.normal(size=(6, 6)) + 3).astype(np.float32)
    parts = list(Gaussian(200_000, np.arange(2000), seed=1, eps=0.25).parts(table))
    np.testing.assert_array_equal(np.concatenate([members for members, _, _ in parts]), np.arange(200_000))
    rows = np.concatenate([values for _, _, values in parts])
    np.testing.assert_allclose(rows.mean(0), table[:2000].mean(0), atol=0.03)
    np.testing.assert_allclose(np.cov(rows.T), 0.25 * np.cov(table[:2000].T), atol=0.05)


def test_inspect_counts_what_transfer_does_and_writes_nothing(room, moved):
    before = sorted(p.name for p in room.iterdir())
    record = api.inspect(room / "llm", room / "plm", aux_text=[room / "de.txt"])
    assert record["tokens"] == moved[1]["tokens"] and record["anchors"] == moved[1]["anchors"]
    assert record["fertility"]["source"] > record["fertility"]["target"] > 1
    assert sorted(p.name for p in room.iterdir()) == before


def test_mistakes_are_one_line_and_leave_nothing(room, tmp_path):
    def broken(name, change):
        copy = tmp_path / f"{name}-{change.__name__}"
        shutil.copytree(room / name, copy)
        change(copy)
        return copy

    def nan(directory):
        checkpoint = open_checkpoint(room / "plm")
        table = checkpoint.read("bert.embeddings.word_embeddings.weight").copy()
        table[50, 3] = np.nan
        copy_checkpoint(checkpoint, directory, {"bert.embeddings.word_embeddings.weight": table})

    def longer(directory):
        content = json.loads((directory / "tokenizer.json").read_text())
        content["model"]["vocab"]["neuneuneu"] = 400
        (directory / "tokenizer.json").write_text(json.dumps(content))

    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "latin.txt").write_bytes("Straße\n".encode("latin-1"))
    (tmp_path / "bad.bin").write_bytes(b"\x00" * 50)
    text = {"aux_text": [room / "de.txt"]}
    cases = [
        (room / "nothing", room / "plm", text, "no such directory"),
        (room, room / "plm", text, "not a model directory"),
        (room / "llm", broken("plm", nan), text, "not finite"),
        (room / "llm", broken("plm", longer), text, "neuneuneu"),
        (room / "llm", room / "plm", {"aux_text": [tmp_path / "empty.txt"]}, "empty"),
        (room / "llm", room / "plm", {"aux_text": [tmp_path / "latin.txt"]}, "not UTF-8"),
        (room / "llm", room / "plm", {"aux": tmp_path / "bad.bin"}, "bad.bin"),
        (room / "llm", room / "plm", {"aux": tmp_path / "none.vec"}, "does not exist"),
        (room / "llm", room / "plm", {}, "--aux"),
        (room / "llm", room / "plm", {"method": "magic", **text}, "magic"),
        ("no-one/nowhere", room / "plm", text, "hub"),
    ]
    for source, target, arguments, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            api.transfer(source, target, tmp_path / "out", **arguments)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="overwrite"):
        api.transfer(room / "llm", room / "plm", room / "new", **text)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith((".out", "out"))]


def test_vocabularies_that_share_nothing_are_refused(room, tmp_path):
    zoo.llama(tmp_path / "greek", text=tuple("αβγδε ζηθικ λμνξο" for _ in range(5)), size=270, tokenizer="byte_bpe")
    zoo.bert(tmp_path / "cyrillic", text=tuple("бгджз ийлпф" for _ in range(5)), size=30)
    with pytest.raises(UserError, match="share no token"):
        api.transfer(tmp_path / "greek", tmp_path / "cyrillic", tmp_path / "out", neighbours="plm")


def test_a_padding_id_that_zeroes_a_position_of_xglm_is_told(tmp_path):
    zoo.xglm(tmp_path / "source", text="en")
    found = set()
    for name in ("bert", "modernbert"):
        zoo_plms.make(name, tmp_path / name)
        record = api.transfer(tmp_path / "source", tmp_path / name, tmp_path / f"{name}-out", method="gaussian")
        pad = json.loads((tmp_path / f"{name}-out" / "config.json").read_text())["pad_token_id"]
        told = any(f"the encoding of position {pad - 2}" in note for note in record["notes"])
        assert told == (pad >= 2)
        found.add(told)
    assert found == {True, False}
