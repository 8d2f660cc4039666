"""Expansion: the target's tokens appended to the source's vocabulary, on the whole path."""

import gzip
import json
from collections import Counter, defaultdict

import numpy as np
import pytest
import zoo
import zoo_plms
from tokenizers import Tokenizer, models, normalizers
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

from saltjax import api
from saltjax.cli import main
from saltjax.errors import UserError
from saltjax.hub.tensors import open_checkpoint
from saltjax.transfer.surgery import open_patient
from saltjax.vocab.expand import expand
from saltjax.vocab.scheme import Scheme
from saltjax.vocab.surface import Surface, read_piece, write_piece
from saltjax.vocab.unigram import Unigram
from saltjax.vocab.vocabulary import read_vocabulary

torch = pytest.importorskip("torch")
ENGLISH, GERMAN = zoo.sentences("en"), zoo.sentences("de")
SOURCES = {
    "llama 3": lambda path: zoo.llama(path, dtype="float32", chat_template=zoo.CHAT),
    "llama 2, padded": lambda path: zoo.llama(path, tokenizer="sp_bpe", vocab_rows=704),
    "gemma": zoo.gemma,
    "gpt2": zoo.gpt2,
    "xglm": lambda path: zoo.xglm(path, text="en"),
}
TARGETS = {
    "wordpiece": zoo.bert,
    "unigram": zoo.t5,
    "byte-level": lambda path: zoo.gpt2(path, text="de"),
    "uncased": lambda path: zoo_plms.make("bert uncased", path),
}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    path = tmp_path_factory.mktemp("expand")
    (path / "de.txt").write_text("\n".join(GERMAN[:200]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def grown(room):
    """(source directory, target directory, expanded directory, record), each made once."""
    done = {}

    def grow(source, target, **choice):
        key = (source, target, *sorted(choice.items()))
        if key not in done:
            for name, make in ((source, SOURCES[source]), (target, TARGETS[target])):
                if not (room / name).exists():
                    make(room / name)
            out = room / f"out{len(done)}"
            arguments = {"expand": True, "method": "fvt", **choice}
            if arguments["method"] == "salt":
                arguments["neighbours"] = "plm"
            done[key] = (
                room / source,
                room / target,
                out,
                api.transfer(room / source, room / target, out, **arguments),
            )
        return done[key]

    return grow


def tokens_of(out):
    lines = gzip.decompress((out / "tokens.tsv.gz").read_bytes()).decode().split("\n")[:-1]
    header = lines[0].split("\t")
    return [dict(zip(header, line.split("\t"), strict=True)) for line in lines[1:]]


PAIRS = [("llama 3", "wordpiece"), ("llama 3", "byte-level"), ("llama 2, padded", "wordpiece"),
         ("gemma", "unigram"), ("gpt2", "unigram"), ("xglm", "wordpiece")]  # fmt: skip


@pytest.mark.parametrize("source, target", PAIRS)
def test_the_source_stays_as_it_is_and_german_gets_shorter(grown, source, target):
    old_dir, _, out, record = grown(source, target)
    old, new = AutoTokenizer.from_pretrained(old_dir), AutoTokenizer.from_pretrained(out)
    size = len(old)
    assert len(new) == size + record["expansion"]["appended"]
    assert all(new.convert_ids_to_tokens(i) == old.convert_ids_to_tokens(i) for i in range(size))
    assert new.special_tokens_map == old.special_tokens_map and new.chat_template == old.chat_template
    # Every row of the source's tokens, bit for bit, and nothing else changed.
    before, after = open_patient(old_dir), open_patient(out)
    tables = {*before.tables.inputs, *before.tables.heads}
    for name in before.checkpoint.entries:
        then, now = before.checkpoint.read(name), after.checkpoint.read(name)
        assert now.shape[0] == (len(new) if name in tables else then.shape[0])
        rows = slice(size if name in tables else None)
        assert now[rows].tobytes() == then[rows].tobytes(), name
    # A text without a new token is cut as before; with one it is cut into fewer.
    changed = 0
    for sentence in (*ENGLISH, "x = [1, 2]\n\tif y:\n", "ñandú 北京 🙂", ""):
        then, now = old(sentence)["input_ids"], new(sentence)["input_ids"]
        assert then == now or (max(now) >= size and len(now) < len(then))
        changed += then != now
    assert 0 < changed < len(ENGLISH)
    then, now = (sum(len(t(sentence)["input_ids"]) for sentence in GERMAN) for t in (old, new))
    assert now < 0.75 * then
    # Nothing is lost that the source could write, and some of what it could not is there now.
    for sentence in GERMAN:
        if old.unk_token_id is None or old.unk_token_id not in old(sentence)["input_ids"]:
            assert new.decode(new(sentence)["input_ids"]) == old.decode(old(sentence)["input_ids"])
    # Each new token, alone, is cut into itself.
    for token_id in range(size, len(new)):
        piece = new.convert_ids_to_tokens(token_id)
        assert [token.id for token in new.backend_tokenizer.model.tokenize(piece)] == [token_id], piece


@pytest.mark.parametrize("source, target", [("llama 3", "wordpiece"), ("xglm", "wordpiece")])
@pytest.mark.parametrize("method", ["salt", "ridge"])
def test_new_rows_are_those_of_a_replacement_and_means_of_pieces(grown, room, tmp_path, source, target, method):
    old_dir, target_dir, out, record = grown(source, target, method=method)
    choice = {"neighbours": "plm"} if method == "salt" else {}
    api.transfer(old_dir, target_dir, tmp_path / "replaced", method=method, **choice)
    replaced = {line["surface"]: line for line in tokens_of(tmp_path / "replaced")}
    old, new = AutoTokenizer.from_pretrained(old_dir), AutoTokenizer.from_pretrained(out)
    names = open_patient(out).tables
    found = {"rule": 0, "pieces": 0}
    for name in (*names.inputs, *names.heads):
        before, other, after = (open_checkpoint(d).read(name) for d in (old_dir, tmp_path / "replaced", out))
        for line in tokens_of(out)[len(old) :]:
            row = after[int(line["id"])]
            twin = replaced.get(line["surface"])
            if twin is not None and twin["origin"] == "fitted":
                np.testing.assert_allclose(row, other[int(twin["id"])], atol=1e-6)
                found["rule"] += 1
            else:
                cut = old.backend_tokenizer.model.tokenize(new.convert_ids_to_tokens(int(line["id"])))
                pieces = [token.id for token in cut]
                np.testing.assert_allclose(row, before[pieces].astype(np.float64).mean(axis=0), atol=1e-6)
                found["pieces"] += 1
    assert found["rule"] > 150 and (found["pieces"] > 0) == (source == "llama 3")
    counts = record["tokens"]
    assert counts["copied"] == len(old) and sum(counts[k] for k in counts if k != "total") == counts["total"]


def test_the_n_tokens_that_save_most(grown, room):
    _, _, out, record = grown("llama 3", "wordpiece", text=(room / "de.txt",), expand_size=40)
    _, _, _, every = grown("llama 3", "wordpiece", text=(room / "de.txt",))
    assert 38 <= record["expansion"]["appended"] <= 40 < every["expansion"]["appended"]
    few, all_of_them = (r["expansion"]["text"] for r in (record, every))
    assert all_of_them["after"]["fertility"] < few["after"]["fertility"] < 0.9 * few["before"]["fertility"]
    tokenizer = AutoTokenizer.from_pretrained(out)
    counts = np.bincount([i for s in GERMAN[:200] for i in tokenizer(s)["input_ids"]], minlength=len(tokenizer))
    assert np.median(counts[-38:]) > 5  # tokens that occur
    assert few["after"]["fertility"] == pytest.approx(
        sum(len(tokenizer(s, add_special_tokens=False)["input_ids"]) for s in GERMAN[:200])
        / sum(len(s.split()) for s in GERMAN[:200])
    )


def test_align_averages_the_cuts_of_a_token_in_its_text(grown, room):
    """The recipe of Yamaguchi et al.: few tokens, rows from the source's cuts of them in text."""
    old_dir, target_dir, out, record = grown(
        "llama 3", "uncased", method="align", text=(room / "de.txt",), expand_size=60
    )
    assert 58 <= record["expansion"]["appended"] <= 60
    old, target = (AutoTokenizer.from_pretrained(d) for d in (old_dir, target_dir))
    counts = defaultdict(Counter)
    for sentence in GERMAN[:200]:
        # Which of the source's tokens write each letter; a letter of two bytes may have two.
        ids, spans = (old(sentence, add_special_tokens=False, return_offsets_mapping=True)[k]
                      for k in ("input_ids", "offset_mapping"))  # fmt: skip
        letters = [[n for n, (a, b) in enumerate(spans) if a <= i < b and sentence[a:b].strip()]
                   for i in range(len(sentence))]  # fmt: skip
        found = target(sentence, add_special_tokens=False, return_offsets_mapping=True)
        for token, (a, b) in zip(found["input_ids"], found["offset_mapping"], strict=True):
            inside = sorted({n for i in range(a, b) for n in letters[i]})
            outside = {n for i, c in enumerate(sentence) if not a <= i < b and not c.isspace() for n in letters[i]}
            if not outside & set(inside):
                counts[target.convert_ids_to_tokens(token)][tuple(ids[n] for n in inside)] += 1
    before, after = (open_checkpoint(d).read("lm_head.weight").astype(np.float64) for d in (old_dir, out))
    checked = several = 0
    for line in tokens_of(out)[len(old) :]:
        piece = line["surface"][1:] if line["surface"].startswith("_") else "##" + line["surface"]
        if cuts := counts.get(piece):
            want = sum(n * before[list(cut)].mean(axis=0) for cut, n in cuts.items()) / cuts.total()
            np.testing.assert_allclose(after[int(line["id"])], want, atol=1e-6)
            checked, several = checked + 1, several + (len(cuts) > 1)
    assert checked > 45 and several > 3


def test_the_command_and_the_model(room, grown, tmp_path, monkeypatch, capsys):
    from transformers import AutoModelForCausalLM

    old_dir, target_dir, _, _ = grown("llama 3", "wordpiece")
    command = ["saltjax", "transfer", old_dir, target_dir, tmp_path / "out", "--method", "ridge", "--expand-size", "30",
               "--text", room / "de.txt", "--head", "map", "--norms", "calibrate", "--json"]  # fmt: skip
    monkeypatch.setattr("sys.argv", [str(part) for part in command])
    with pytest.raises(SystemExit) as end:
        main()
    captured = capsys.readouterr()
    assert end.value.code in (0, None), captured.err
    record = json.loads(captured.out)
    assert 28 <= record["expansion"]["appended"] <= 30 and record["settings"]["expand"]
    tokenizer, model = (
        AutoTokenizer.from_pretrained(tmp_path / "out"),
        AutoModelForCausalLM.from_pretrained(tmp_path / "out"),
    )
    old = AutoModelForCausalLM.from_pretrained(old_dir)
    config = AutoConfig.from_pretrained(tmp_path / "out")
    assert config.vocab_size == len(tokenizer) and config.bos_token_id == old.config.bos_token_id
    unchanged = next(s for s in ENGLISH if max(tokenizer(s)["input_ids"]) < old.config.vocab_size)
    ids = torch.tensor([tokenizer(unchanged)["input_ids"]])
    torch.testing.assert_close(model(ids).logits[..., : old.config.vocab_size], old(ids).logits)


def test_what_cannot_be_expanded_is_said(grown, room, tmp_path):
    old_dir, target_dir, out, _ = grown("llama 3", "wordpiece")
    text = {"text": [room / "de.txt"]}
    for source, target, choice, message in (
        (old_dir, target_dir, {"expand_size": 10}, "--text"),
        (old_dir, target_dir, {"expand_size": 0, **text}, "N >= 1"),
        (out, target_dir, {"expand": True}, "nothing to append"),
        (old_dir, target_dir, {"expand": True, "bias": "unigram", **text}, "no bias"),
    ):
        with pytest.raises(UserError, match=message):
            api.transfer(source, target, tmp_path / "out", method="fvt", **choice)
        assert not (tmp_path / "out").exists()


def test_new_merges_write_no_token_of_the_source():
    """A source may hold a token that its merges never reach; a new merge into it would change the source's texts."""
    vocab = {piece: n for n, piece in enumerate(["▁", "a", "b", "c", "d", "ab", "abc"])}
    source = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocab, [("a", "b")])))
    source.backend_tokenizer.normalizer = normalizers.Replace(" ", "▁")
    content = json.loads(source.backend_tokenizer.to_str())
    content, appended = expand(content, read_vocabulary(source), {"abcd": 7})
    assert [(each.piece, each.target, each.cut) for each in appended] == [("cd", None, (3, 4)), ("abcd", 7, (5, 3, 4))]
    new = Tokenizer.from_str(json.dumps(content))
    assert new.encode("abcabcd").tokens == ["ab", "c", "abcd"]


def test_pieces_are_written_as_they_are_read():
    byte_level, spaced = (
        Scheme("b", "byte-level", "space"),
        Scheme("s", "spaced", "space", space="▁", byte_fallback=True),
    )
    wordpiece = Scheme("w", "plain", "prefix", affix="##")
    for scheme, pieces in (
        (byte_level, ["Ġhaus", "haus", "Ġ", "Ċ", "Ã", "ĠäĠ"]),
        (spaced, ["▁haus", "haus", "▁▁", "ä"]),
        (wordpiece, ["haus", "##haus"]),
    ):
        for piece in pieces:
            surface, _ = read_piece(piece, scheme)
            assert write_piece(surface, scheme) == piece
    assert write_piece(Surface(b"\xc3", False), spaced) is None
    assert write_piece(Surface(b"x", None), byte_level) == "x"


def test_viterbi_finds_the_best_of_all_cuts():
    random = np.random.default_rng(0)
    pieces = ["a", "b", "ab", "ba", "aba", "bab", "abab"]
    model = {"vocab": [[piece, float(score)] for piece, score in zip(pieces, -random.random(7) * 5, strict=True)]}
    unigram = Unigram.of(model)

    def cuts(text):
        yield from ([text[:i], *rest] for i in range(1, len(text)) for rest in cuts(text[i:]) if text[:i] in pieces)
        if text in pieces:
            yield [text]

    for text in ("abab", "babaab", "aabbab"):
        best = max(cuts(text), key=lambda cut: sum(unigram.scores[piece] for piece in cut))
        assert unigram.cut(text) == tuple(unigram.ids[piece] for piece in best)
        assert unigram.score(text) == pytest.approx(sum(unigram.scores[piece] for piece in best))
    assert unigram.cut("axb") == ()
