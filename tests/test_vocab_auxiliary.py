"""The auxiliary space: fastText files against gensim's own reader, broken files, training."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import zoo
from gensim.models.fasttext import FastText, load_facebook_vectors, save_facebook_model

from saltjax.errors import UserError
from saltjax.vocab.auxiliary import load_auxiliary, train_auxiliary
from saltjax.vocab.fasttext_training import _sentences, settings
from saltjax.vocab.geometry import geometry, warning

WORDS = ["Haus", "haus", "häuser", "zzzqqq", "x", "Küche", "日本"]


@dataclass(frozen=True)
class Lines:
    """Documents of a text, as a file of them would give."""

    lines: tuple[str, ...]

    def documents(self):
        return iter(self.lines)

    def fingerprint(self):
        return f"{len(self.lines)} lines"


@pytest.fixture(scope="module")
def model():
    sentences = [line.split() for line in zoo.sentences("de", 300)]
    return FastText(sentences, vector_size=12, min_count=2, bucket=500, min_n=3, max_n=5, epochs=2, workers=1)


@pytest.fixture
def bin_file(model, tmp_path):
    path = tmp_path / "de.bin"
    save_facebook_model(model, str(path))
    return path


@pytest.fixture
def vec_file(model, tmp_path):
    path = tmp_path / "de.vec"
    model.wv.save_word2vec_format(str(path))
    return path


def test_bin_equals_gensims_reader(bin_file):
    auxiliary, oracle = load_auxiliary(bin_file), load_facebook_vectors(str(bin_file))
    words = [*oracle.index_to_key[:50], *WORDS]
    found = auxiliary.vectors(words)
    assert found.dtype == np.float32 and found.shape == (len(words), 12)
    np.testing.assert_allclose(found, np.stack([oracle[word] for word in words]), rtol=1e-5, atol=1e-7)
    assert not auxiliary.vectors(["</s>"]).any()  # fastText never composes its end-of-line token
    assert auxiliary.source["sha256"] and auxiliary.source["bytes"] == bin_file.stat().st_size


def test_rows_come_in_the_order_asked_for(bin_file):
    auxiliary = load_auxiliary(bin_file)
    found = auxiliary.vectors(["Haus", None, "haus", "Haus"])
    assert not found[1].any() and found[0].any()
    np.testing.assert_array_equal(found[0], found[3])
    np.testing.assert_array_equal(found[2], auxiliary.vectors(["haus"])[0])
    assert auxiliary.vectors([]).shape == (0, 12) and not auxiliary.vectors([None]).any()


def test_bin_gives_zeros_where_nothing_composes(tmp_path):
    """A published model has n-grams of five characters only: a word of two has none."""
    sentences = [["Haus", "und", "ab"]] * 5
    model = FastText(sentences, vector_size=4, min_count=1, bucket=50, min_n=5, max_n=5, epochs=1, workers=1)
    save_facebook_model(model, str(tmp_path / "five.bin"))
    auxiliary = load_auxiliary(tmp_path / "five.bin")
    assert auxiliary.vectors(["zu", "ab", "zuhaus"]).any(axis=1).tolist() == [False, True, True]


def test_vec_has_exact_entries_only(vec_file, model):
    auxiliary = load_auxiliary(vec_file)
    word = model.wv.index_to_key[3]
    found = auxiliary.vectors([word, "zzzqqq", None])
    np.testing.assert_allclose(found[0], model.wv[word], rtol=1e-5)
    assert not found[1:].any()
    vec_file.write_text("2 2\nHaus 1 2\nHaus 3 4\n", encoding="utf-8")
    assert load_auxiliary(vec_file).vectors(["Haus"]).tolist() == [[1, 2]]


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.5, 0.8, 0.999])
def test_truncated_bin_is_refused(bin_file, keep):
    content = bin_file.read_bytes()
    bin_file.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UserError, match=r"de\.bin is truncated"):
        load_auxiliary(bin_file)


def test_truncation_is_found_at_every_length(bin_file):
    content = bin_file.read_bytes()
    for length in [*range(1, 400), len(content) - 1]:
        bin_file.write_bytes(content[:length])
        with pytest.raises(UserError, match="truncated"):
            load_auxiliary(bin_file)
    bin_file.write_bytes(content + b"\0")
    with pytest.raises(UserError, match="after its last matrix"):
        load_auxiliary(bin_file)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.bin", b"", "is empty"),
        ("a.vec", b"", "is empty"),
        ("a.bin", b"PK\x03\x04" + b"0" * 200, "is not a fastText .bin"),
        ("a.bin", b"\x1f\x8b" + b"0" * 200, "gunzip"),
        ("a.vec", b"\x1f\x8b" + b"0" * 200, "gunzip"),
        ("a.vec", b"Haus 0.1 0.2\nund 0.3 0.4\n", "first line"),
        ("a.vec", b"\x00\x01\x02", "first line"),
        ("a.txt", b"2 2\n", "must be a fastText .bin or .vec"),
        ("a.vec", b"2 2\na 1 2\nb 1", "line 3: 2 finite numbers"),
        ("a.vec", b"2 2\na 1 2\nb 1 nan\n", "line 3"),
        ("a.vec", b"2 2\na\t1\t2\nb\t3\t4\n", "line 3"),  # else no word would ever be found
    ],
)
def test_other_files_are_refused_when_loaded(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load_auxiliary(tmp_path / name)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_missing_and_directory(tmp_path):
    for path in (tmp_path / "none.bin", tmp_path):
        with pytest.raises(UserError, match="does not exist"):
            load_auxiliary(path)


@pytest.mark.parametrize(
    "content, message",
    [
        ("3 2\na 1 2\nb 3 4\n", "2 vectors where its first line announces 3"),
        ("1 2\na 1 2\nb 3 4\n", "2 vectors where its first line announces 1"),
        ("2 2\na 1 x\nb 3 4\n", "line 2"),
        ("2 2\na 1 inf\nb 3 4\n", "line 2"),
        ("2 2\na 1 2 3\nb 3 4\n", "line 2"),
    ],
)
def test_damaged_vec_is_refused_when_read(tmp_path, content, message):
    (tmp_path / "a.vec").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_auxiliary(tmp_path / "a.vec").vectors(["a"])


def test_bin_with_nan_is_refused(bin_file, model):
    row = np.asarray(model.wv.vectors_vocab[0], "<f4").tobytes()
    content = bin_file.read_bytes()
    assert content.count(row) == 1
    bin_file.write_bytes(content.replace(row, np.full(12, np.nan, "<f4").tobytes()))
    with pytest.raises(UserError, match="not finite"):
        load_auxiliary(bin_file).vectors([model.wv.index_to_key[0]])


def test_training_on_little_text_does_not_collapse():
    """120 kB of sentences, where FOCUS's settings (3 epochs, min_count 10) give one narrow cone."""
    text = Lines(tuple(json.loads(x)["de"] for x in _pocket_lines("nature", "society")))
    fractions = []
    auxiliary = train_auxiliary([text], progress=fractions.append)
    words = sorted({w for line in text.lines for w in line.rstrip(".").split()})
    healthy = geometry(auxiliary.vectors(words))
    assert healthy.mean_cosine < 0.4 and healthy.support < 40 and warning(healthy) is None
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(fractions) >= 100
    assert "spelling" in auxiliary.notes[0]
    near = _nearest(auxiliary, "Stadt", words)
    assert any("stadt" in word or "Städte" in word for word in near), near

    sentences = [line.split() for line in text.lines]
    focus = FastText(sentences, vector_size=100, epochs=3, min_count=10, negative=10, workers=1, bucket=50_000)
    collapsed = geometry(np.stack([focus.wv[word] for word in words]))
    assert collapsed.mean_cosine > 0.7 and collapsed.support > 0.5 * collapsed.rows
    assert "collapsed" in warning(collapsed) and "--aux" in warning(collapsed) and "\n" not in warning(collapsed)


def test_a_word_without_trained_subwords_has_no_vector():
    auxiliary = train_auxiliary([Lines(zoo.sentences("de", 400))])
    assert auxiliary.vectors(["Haus", "Häuserchen", "日本", "щ"]).any(axis=1).tolist() == [True, True, False, False]


def test_training_gives_the_same_bytes_in_every_process(tmp_path):
    lines = zoo.sentences("de", 400)
    (tmp_path / "text").write_text("\n".join(lines), encoding="utf-8")
    code = (
        "import hashlib, pathlib, sys\n"
        "from saltjax.vocab.auxiliary import train_auxiliary\n"
        "class Lines:\n"
        "    def documents(self): return iter(pathlib.Path(sys.argv[1]).read_text(encoding='utf-8').split('\\n'))\n"
        "    def fingerprint(self): return ''\n"
        "vectors = train_auxiliary([Lines()], seed=3).vectors(['Haus', 'Häuserchen', 'und', 'in'])\n"
        "print(hashlib.sha256(vectors.tobytes()).hexdigest())\n"
    )
    digests = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", code, str(tmp_path / "text")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stderr == ""  # no chatter
        digests.append(done.stdout.strip())

    def digest(seed):
        vectors = train_auxiliary([Lines(lines)], seed).vectors(["Haus", "Häuserchen", "und", "in"])
        return hashlib.sha256(vectors.tobytes()).hexdigest()

    assert digests == [digest(3), digest(3)] and digest(4) not in digests


def test_too_little_text_is_refused():
    for lines in ((), ("Ein Haus.",), zoo.sentences("de", 5)):
        with pytest.raises(UserError, match="too little to train on"):
            train_auxiliary([Lines(tuple(lines))])


def test_text_is_cut_into_sentences_and_words(monkeypatch):
    def cut(*documents, normalize=None):
        return _sentences([Lines(documents)], normalize)[0]

    assert cut("Ein Haus. Zwei, drei!  Vier") == [["Ein", "Haus", "."], ["Zwei", ",", "drei", "!"], ["Vier"]]
    assert cut("Ein HAUS", normalize=str.lower) == [["ein", "haus"]]
    assert cut("हिन्दी भाषा। नई") == [["हिन्दी", "भाषा", "।"], ["नई"]]  # vowel signs stay in their word
    assert cut("日本語。はい") == [["日", "本", "語", "。"], ["は", "い"]]
    assert cut("3.5 kg") == [["3", ".", "5", "kg"]]
    # gensim drops what goes beyond 10,000 words of a sentence.
    long = cut("wort " * 25_000)
    assert max(map(len, long)) <= 10_000 and sum(map(len, long)) == 25_000
    # More text than is trained on is thinned out evenly, to the end.
    monkeypatch.setattr("saltjax.vocab.fasttext_training.MOST_WORDS", 100)
    kept, total = _sentences([Lines(tuple(f"wort {n}" for n in range(1000)))], None)
    numbers = [int(sentence[1]) for sentence in kept]
    assert total == 2000 and 50 < 2 * len(kept) <= 100
    assert set(np.diff(numbers)) == {numbers[1]} and numbers[0] == 0 and numbers[-1] > 950


def test_settings_follow_the_amount_of_text():
    assert [settings(n)["epochs"] for n in (0, 60_000, 333_000, 830_000, 4_200_000)] == [30, 30, 24, 10, 5]
    assert settings(60_000)["min_count"] < settings(4_200_000)["min_count"]


def test_geometry():
    random = np.random.default_rng(0)
    spread = random.normal(size=(3000, 50))
    assert abs(geometry(spread).mean_cosine) < 0.01 and geometry(spread).rows == 2000
    assert warning(geometry(spread)) is None
    cone = spread + 20
    assert geometry(cone).mean_cosine > 0.95 and "collapsed" in warning(geometry(cone))
    flat = geometry(np.eye(300))  # all cosines 0: no neighbour stands out
    assert flat.support == 299 and "flat" in warning(flat)
    with_zeros = np.concatenate([spread[:500], np.zeros((500, 50))])
    assert geometry(with_zeros).rows == 500
    exact = geometry(spread[:40])
    unit = spread[:40] / np.linalg.norm(spread[:40], axis=1, keepdims=True)
    assert np.isclose(exact.mean_cosine, (unit @ unit.T)[~np.eye(40, dtype=bool)].mean())
    assert geometry(np.zeros((5, 3))) == (0, 0.0, 0.0) and geometry(np.ones((1, 3))).rows == 1


def _pocket_lines(*names):
    return [x for n in names for x in (zoo.TEXT / f"{n}.jsonl").read_text(encoding="utf-8").split("\n") if x]


def _nearest(auxiliary, word, words):
    others = [other for other in words if other != word]
    vectors = auxiliary.vectors([word, *others])
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return [others[i] for i in np.argsort(-(unit[1:] @ unit[0]))[:8]]
