"""Every family of PLM as TARGET: which tensor is read, what its tokenizer's pieces and special tokens are taken for."""

import hashlib
import importlib.util

import pytest
import zoo
import zoo_plms
from transformers import AutoModel, AutoTokenizer

from saltjax import api
from saltjax.errors import UserError
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.transfer.surgery import open_patient
from saltjax.vocab.vocabulary import normalizer_of, read_vocabulary

NAMES = {  # the tensor that is used
    "bert": "bert.embeddings.word_embeddings.weight",
    "bert uncased": "bert.embeddings.word_embeddings.weight",
    "roberta": "roberta.embeddings.word_embeddings.weight",
    "xlm-r": "roberta.embeddings.word_embeddings.weight",
    "electra discriminator": "electra.embeddings.word_embeddings.weight",
    "electra generator": "electra.embeddings.word_embeddings.weight",
    "deberta v2": "deberta.embeddings.word_embeddings.weight",
    "deberta v3": "deberta.embeddings.word_embeddings.weight",
    "albert": "albert.embeddings.word_embeddings.weight",
    "distilbert": "distilbert.embeddings.word_embeddings.weight",
    "t5": "decoder.embed_tokens.weight",  # one of three equal copies
    "t5 encoder": "shared.weight",
    "mt5": "shared.weight",
    "bart": "model.shared.weight",
    "bart encoder and decoder": "shared.weight",
    "gpt2": "wte.weight",
    "modernbert": "model.embeddings.tok_embeddings.weight",
}


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return zoo.llama(tmp_path_factory.mktemp("llm") / "m")


@pytest.fixture(scope="module", params=zoo_plms.ZOO)
def plm(request, tmp_path_factory):
    """(name, directory, the PyTorch model)."""
    path = tmp_path_factory.mktemp("plm") / "m"
    return request.param, path, zoo_plms.make(request.param, path)


def test_the_embedding_is_the_one_that_pytorch_looks_up(plm, llm, tmp_path):
    name, path, model = plm
    record = api.transfer(llm, path, tmp_path / "new", neighbours="plm")
    weight = model.get_input_embeddings().weight.detach().numpy()
    assert record["target"]["embedding"] == {"name": NAMES[name], "shape": list(weight.shape), "dtype": "float32"}
    assert record["target"]["embedding_sha256"] == hashlib.sha256(weight.tobytes()).hexdigest()
    loaded = AutoModel.from_pretrained(path).get_input_embeddings().weight.detach().numpy()
    assert loaded.tobytes() == weight.tobytes()  # the directory is one that transformers reads the same way
    counts = record["tokens"]
    assert counts["total"] == len(zoo_plms.tokenizer(zoo_plms.ZOO[name].tokenizer))
    assert counts["copied"] > 60 and counts["fitted"] > 100
    factorised = [note for note in record["notes"] if "factorised" in note]
    assert bool(factorised) == (name in ("albert", "electra generator"))
    written = AutoTokenizer.from_pretrained(tmp_path / "new")
    text = "Der Zug fährt um neun Uhr."
    assert (
        written(text, add_special_tokens=False).input_ids
        == AutoTokenizer.from_pretrained(path)(text, add_special_tokens=False).input_ids
    )


def test_special_tokens_have_their_roles(plm):
    name, path, _ = plm
    found = open_patient(path).vocabulary
    tokenizer = AutoTokenizer.from_pretrained(path)
    special = {token.piece: token.id for token in found.tokens if token.kind in ("special", "unused")}
    assert set(tokenizer.all_special_ids) <= set(special.values())
    first, last = tokenizer("Der Zug").input_ids[0], tokenizer("Der Zug").input_ids[-1]
    if name not in ("gpt2", "t5", "t5 encoder", "mt5"):  # which put nothing in front
        assert found.roles["bos"] == first
    if name != "gpt2":
        assert found.roles["eos"] == last
    for role in ("pad", "unk", "mask"):
        assert found.roles.get(role) == getattr(tokenizer, f"{role}_token_id"), role


def test_pieces_stand_for_the_text_that_they_were_cut_from(plm):
    name, path, _ = plm
    patient = open_patient(path)
    assert patient.vocabulary.scheme == zoo_plms.ZOO[name].scheme
    tokens = {token.id: token for token in patient.vocabulary.tokens}
    tokenizer = AutoTokenizer.from_pretrained(path)
    normalise = normalizer_of(patient.tokenizer) or (lambda text: text)
    starts = {True: 0, False: 0}
    for sentence in zoo.sentences("de")[:60]:
        encoded = tokenizer(sentence, return_offsets_mapping=True, add_special_tokens=False)
        apart = False  # a piece of its own was the space before
        for token_id, (begin, end) in zip(encoded.input_ids, encoded.offset_mapping, strict=True):
            token, text = tokens[token_id], sentence[begin:end]
            if token.kind != "text" or not token.surface.text.strip():
                apart = token.kind == "text"
                continue  # a byte of a character, <unk>, a space alone
            assert normalise(token.surface.text.decode()).strip() == normalise(text).strip(), (sentence, token)
            begin += len(text) - len(text.lstrip())
            if begin and token.surface.word_start is not None:
                at_start = sentence[begin - 1].isspace() and not apart
                assert token.surface.word_start == at_start, (sentence, token)
                starts[at_start] += 1
            apart = False
    assert min(starts.values()) > 100


def test_a_sentencepiece_file_alone_is_read_or_its_package_named(tmp_path):
    """As DeBERTa v3 and mT5 are published."""
    zoo_plms.make("deberta v3", tmp_path)
    made = zoo_plms.tokenizer(zoo_plms.deberta_unigram)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "vocab_type": "spm"}')
    (tmp_path / "spm.model").write_bytes(zoo_plms.sentencepiece_file(made))
    if importlib.util.find_spec("sentencepiece") is None:
        with pytest.raises(UserError, match=r"spm\.model alone; `pip install sentencepiece protobuf`"):
            load_tokenizer(tmp_path)
    else:
        read = load_tokenizer(tmp_path)
        assert [read(text).input_ids for text in zoo.sentences("de")] == [
            made(text).input_ids for text in zoo.sentences("de")
        ]
        assert read_vocabulary(read).roles == read_vocabulary(made).roles
