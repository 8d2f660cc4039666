import json
import os
import time

import pytest
import zoo

from saltjax.data import fingerprint, tokens
from saltjax.data.corpus import JsonLines, TextFile
from saltjax.data.feed import account, described, feed, gather
from saltjax.data.mixture import Corpus, corpora, shares, weighted_path
from saltjax.data.pipeline import Seen
from saltjax.data.tokens import tokenized
from saltjax.errors import UserError


def test_shares():
    assert shares([None, None], [300, 100]) == [0.75, 0.25]
    assert shares([None, 0.05, None], [300, 7, 100]) == [pytest.approx(0.7125), 0.05, pytest.approx(0.2375)]
    assert shares([3.0, 1.0], [5, 500]) == [0.75, 0.25]
    assert shares([None], [5]) == [1]
    with pytest.raises(UserError, match=r"weights sum to 1\.2 and leave nothing"):
        shares([0.7, 0.5, None], [1, 1, 1])


def test_entries_of_a_configuration():
    assert corpora(["a.txt", {"tfds": "wiki/1", "weight": 1, "field": "body"}]) == (
        Corpus("a.txt"),
        Corpus(tfds="wiki/1", weight=1.0, field="body"),
    )
    assert corpora(corpora(["a.txt"])) == (Corpus("a.txt"),)
    cases = {
        "data='a.txt' is not a list": "a.txt",
        "entry 2: 5 is neither": ["a", 5],
        "entry 1: unknown key 'wait'; there are field, layout": [{"path": "a", "wait": 1}],
        "entry 1: weight=0 is not a number above 0": [{"path": "a", "weight": 0}],
        "entry 1: weight='5 %' is not": [{"path": "a", "weight": "5 %"}],
        "entry 1: field=3 is not a text": [{"path": "a", "field": 3}],
        "entry 1: give either path or tfds": [{"weight": 1}],
    }
    for message, value in cases.items():
        with pytest.raises(UserError, match=message):
            corpora(value)


def test_a_path_may_carry_its_weight(tmp_path, monkeypatch):
    assert weighted_path("en.txt=0.05") == Corpus("en.txt", weight=0.05)
    assert weighted_path("en.txt") == Corpus("en.txt")
    assert weighted_path("x=y/en.txt") == Corpus("x=y/en.txt")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=1").write_text("x")
    assert weighted_path("a=1") == Corpus("a=1")
    with pytest.raises(UserError, match="weight=-1 is not a number above 0"):
        weighted_path("a.txt=-1")


def test_titles():
    titles = {"x/de.train.txt.xz": "de.train", "x/de/": "de", "gs://b/x/*.jsonl.zst": "x"}
    assert {path: Corpus(path).title for path in titles} == titles
    assert (
        Corpus(tfds="wikipedia/2023.de").title == "wikipedia" and Corpus(tfds="/a/tiny_text/1.0.0").title == "tiny_text"
    )


@pytest.fixture
def text(tmp_path):
    for language in ("de", "en"):
        lines = "\n".join(zoo.sentences(language, 120))
        (tmp_path / f"{language}.txt").write_text(lines, encoding="utf-8")
    return tmp_path


def test_a_feed_is_named_weighed_and_accounted_for(text, tmp_path):
    told = []
    groups = [
        [Corpus(str(text / "de.txt"))],
        [Corpus(str(text / "en.txt"), weight=0.05)],
        [Corpus(str(text / "de.txt"))],
    ]
    fed = feed(gather(groups), zoo.tokenizer("byte_bpe"), 32, tmp_path / "cache", lambda *now: told.append(now))
    assert [one.name for one in fed] == ["de", "en", "de-2"]
    assert [one.share for one in fed] == [pytest.approx(0.475), 0.05, pytest.approx(0.475)]
    assert {name for name, _ in told} == {"de", "en"}  # the third came from the cache
    last = [now for name, now in told if name == "de"][-1]
    counts = fed[0].windows.store.counts
    assert (last.read, last.size) == ((text / "de.txt").stat().st_size,) * 2
    assert (last.documents, last.tokens) == (counts.documents, counts.tokens)
    record = account(fed, [Seen(10, 0.1), Seen(20, 2.0), Seen(0, 0.0)])
    assert json.loads(json.dumps(record)) == record
    assert record["documents"] == 360 and record["windows"] == sum(len(one.windows) for one in fed)
    waste = sum(one.windows.waste * len(one.windows) for one in fed) / record["windows"]
    assert record["padding"] == pytest.approx(waste)
    assert [(one["tokens_seen"], one["epochs"]) for one in record["sources"]] == [(10, 0.1), (20, 2.0), (0, 0.0)]
    assert [line.partition(":")[0] for line in described(fed)] == ["de", "en", "de-2"]
    empty = text / "empty.txt"
    empty.write_text(" \n")
    with pytest.raises(UserError, match=r"empty.txt: the tokenizer gives no token"):
        feed(gather([[Corpus(str(empty))]]), zoo.tokenizer("wordpiece"), 32, tmp_path / "cache")


# --- fingerprints: what is read again, and when -----------------------------------------------------------------


@pytest.fixture
def readings(monkeypatch):
    """Every time that a file is hashed."""
    found = []
    original = TextFile.sha256
    monkeypatch.setattr(TextFile, "sha256", lambda self: found.append(self.path) or original(self))
    return found


def test_a_settled_file_is_hashed_once_and_a_fresh_one_every_time(text, tmp_path, readings, monkeypatch):
    path, tokenizer, cache = text / "de.txt", zoo.tokenizer("byte_bpe"), tmp_path / "cache"
    first = tokenized([TextFile(path)], tokenizer, cache)
    tokenized([TextFile(path)], tokenizer, cache)
    assert len(readings) == 2  # it was written a moment ago: a change within the clock's tick would not show
    monkeypatch.setattr(fingerprint, "SETTLED", -3600 * 10**9)
    tokenized([TextFile(path)], tokenizer, cache)
    assert tokenized([TextFile(path)], tokenizer, cache).directory == first.directory
    assert tokenized([TextFile(path)], zoo.tokenizer("sp_bpe"), cache).directory != first.directory
    assert len(readings) == 3
    assert tokenized([TextFile(path, "blank")], tokenizer, cache).directory != first.directory
    assert len(readings) == 4
    # Other content of the same size, and the modification time set back: the change time tells.
    times, data = path.stat(), path.read_bytes()
    path.write_bytes(data[:-2] + b"!!")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert tokenized([TextFile(path)], tokenizer, cache).directory != first.directory
    assert len(readings) == 5


class Growing(TextFile):
    """A file that is written to while it is read."""

    def documents(self, read=lambda count: None):
        yield from super().documents(read)
        time.sleep(0.01)
        with self.path.open("a") as file:
            file.write("more\n")


def test_a_source_that_changes_while_it_is_read_is_refused(text, tmp_path):
    with pytest.raises(UserError, match=r"de\.txt.* changed while it was read"):
        tokenized([Growing(text / "de.txt")], zoo.tokenizer("byte_bpe"), tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*")) or not list((tmp_path / "cache").glob("[0-9a-f]*"))


def test_an_interrupt_leaves_no_store(text, tmp_path):
    def interrupt(now):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenized([TextFile(text / "de.txt")], zoo.tokenizer("byte_bpe"), tmp_path / "cache", interrupt)
    assert not (tmp_path / "cache").exists() or not [
        p for p in (tmp_path / "cache").iterdir() if p.name != "fingerprints"
    ]


def test_versions_are_part_of_the_key(text, tmp_path, monkeypatch):
    tokenizer, cache = zoo.tokenizer("byte_bpe"), tmp_path / "cache"
    first = tokenized([TextFile(text / "de.txt")], tokenizer, cache)
    monkeypatch.setattr(tokens.tokenizers, "__version__", "0.0.0")
    other = tokenized([TextFile(text / "de.txt")], tokenizer, cache)
    assert other.directory != first.directory and other.content == first.content


def test_the_same_text_in_two_formats_gives_the_same_tokens(text, tmp_path):
    lines = zoo.sentences("de", 120)
    path = tmp_path / "de.jsonl"
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    stores = [
        tokenized([s], zoo.tokenizer("byte_bpe"), tmp_path / "c") for s in (TextFile(text / "de.txt"), JsonLines(path))
    ]
    assert (stores[0].tokens == stores[1].tokens).all() and stores[0].content != stores[1].content
