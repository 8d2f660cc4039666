"""WECHSEL, RAMEN, Trans-Tokenization and anchors of a dictionary, on the whole path, against plain float64 loops."""

import gzip
import json
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest
import zoo
from scipy.linalg import orthogonal_procrustes
from transformers import AutoTokenizer

from saltjax import api
from saltjax.cli import main
from saltjax.data.files import lines
from saltjax.errors import UserError
from saltjax.hub.tensors import open_checkpoint
from saltjax.transfer.folds import folds
from saltjax.transfer.problem import pose
from saltjax.transfer.surgery import open_patient
from saltjax.vocab.alignment import aligned_words
from saltjax.vocab.dictionary import read_dictionary
from saltjax.vocab.overlap import match
from saltjax.vocab.vocabulary import read_vocabulary, word

INPUT, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """An English LLM, a German PLM, vectors of both languages, a dictionary and a word-aligned parallel text."""
    path = tmp_path_factory.mktemp("bilingual")
    zoo.llama(path / "llm", dtype="float32", size=420)
    zoo.bert(path / "plm", size=300)
    texts = {language: zoo.sentences(language)[:150] for language in ("en", "de")}
    random = np.random.default_rng(0)
    for language, sentences in texts.items():
        counted = Counter(" ".join(sentences).replace(".", "").replace(",", "").split())
        words = [text for text, _ in counted.most_common(400)]
        rows = [f"{text} " + " ".join(f"{x:.5f}" for x in random.normal(size=5)) for text in words]
        (path / f"{language}.vec").write_text("\n".join([f"{len(rows)} 5", *rows]) + "\n")
    (path / "small.txt").write_text("the die\n")
    (path / "en-de.txt").write_text("house haus\nand und\nthe das\nthe die\nwater wasser\nin in\n")
    pairs = list(zip(texts["en"], texts["de"], strict=True))
    (path / "parallel").write_text("".join(f"{en} ||| {de}\n" for en, de in pairs))
    links = [" ".join(f"{i}-{i}" for i in range(min(len(en.split()), len(de.split())))) for en, de in pairs]
    (path / "links").write_text("\n".join(links) + "\n")
    return path


@pytest.fixture
def moved(room, capsys, monkeypatch):
    """`saltjax transfer` in full: (record, source and new input tables, source and new head tables)."""

    def move(out, *arguments):
        command = ["saltjax", "transfer", room / "llm", room / "plm", out, "--json", *arguments]
        monkeypatch.setattr("sys.argv", [str(part) for part in command])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        assert end.value.code in (0, None), captured.err
        record = json.loads(captured.out)
        tables = [open_checkpoint(d).read(n).astype(np.float64) for n in (INPUT, HEAD) for d in (room / "llm", out)]
        return record, *tables

    return move


def vocabularies(room):
    tokenizers = [AutoTokenizer.from_pretrained(room / name) for name in ("llm", "plm")]
    return (*tokenizers, *map(read_vocabulary, tokenizers))


def vec(path):
    rows = [line.split(" ") for line in path.read_text().split("\n")[1:-1]]
    return {row[0]: np.array(row[1:], np.float32).astype(np.float64) for row in rows}


def fitted(out):
    text = gzip.decompress((out / "tokens.tsv.gz").read_bytes()).decode().split("\n")[1:-1]
    return [int(line.split("\t")[0]) for line in text if line.split("\t")[3] == "fitted"]


def check(out, expected, source, new, source_head, new_head):
    """All fitted rows of both tables are sum_e p(e) E[e]."""
    ids = fitted(out)
    assert set(ids) == set(expected) and len(ids) > 50
    for u in ids:
        for old, now in ((source, new), (source_head, new_head)):
            want = sum(weight * old[e] for e, weight in expected[u].items())
            np.testing.assert_allclose(now[u], want, atol=2e-5)


def aligned(room, form):
    """{language: vectors by word}, English rotated into the German space."""
    en, de = vec(room / "en.vec"), vec(room / "de.vec")
    pairs = [tuple(line.split()) for line in (room / "en-de.txt").read_text().split("\n")[:-1]]
    if form == "identical":
        pairs = [(text, text) for text in en if text in de]
    forms = (str, str.lower, str.title)
    spelled = {(f(a), g(b)) for a, b in pairs for f in forms for g in forms}
    both = [(en[a], de[b]) for a, b in sorted(spelled) if a in en and b in de]
    rotation, _ = orthogonal_procrustes(*map(np.array, zip(*both, strict=True)))
    return {text: vector @ rotation for text, vector in en.items()}, de


def test_wechsel_takes_the_nearest_of_all_source_tokens(room, tmp_path, moved):
    arguments = ("--method", "wechsel", "--aux", room / "de.vec", "--source-aux", room / "en.vec",
                 "--dictionary", room / "en-de.txt", "--option", "k=3", "--option", "temperature=0.2")  # fmt: skip
    record, source, new, head, new_head = moved(tmp_path / "out", *arguments)
    _, _, old_tokens, new_tokens = vocabularies(room)
    en, de = aligned(room, "dictionary")
    old = {t.id: en[word(t)] for t in old_tokens.tokens if word(t) in en}
    ids, table = np.array(list(old)), np.array(list(old.values()))
    expected = {}
    for token in new_tokens.tokens:
        if word(token) in de:
            vector = de[word(token)]
            cosines = table @ vector / np.linalg.norm(table, axis=1) / np.linalg.norm(vector)
            best = np.argsort(-cosines, kind="stable")[:3]
            weights = np.exp(cosines[best] / 0.2) / np.exp(cosines[best] / 0.2).sum()
            expected[token.id] = dict(zip(ids[best], weights, strict=True))
    check(tmp_path / "out", expected, source, new, head, new_head)
    assert record["tokens"]["copied"] == 0  # shared tokens are estimated as well
    assert record["dictionary"]["pairs"] == 6 and len(record["dictionary"]["sha256"]) == 64
    assert any("nothing to say" in warning for warning in record["warnings"])


def token_means(tokenizer, vectors, space):
    """token id -> the mean of the vectors of words that contain it, weighted by 1 / rank."""
    weighted, total = defaultdict(float), defaultdict(float)
    for rank, (text, vector) in enumerate(vectors.items(), start=1):
        for token in set(tokenizer(space + text, add_special_tokens=False)["input_ids"]):
            weighted[token] += vector / rank
            total[token] += 1 / rank
    return {token: weighted[token] / total[token] for token in weighted}


def test_ramen_with_vectors_is_the_sparsemax_of_tokens_in_words(room, tmp_path, moved):
    arguments = ("--method", "ramen", "--aux", room / "de.vec", "--source-aux", room / "en.vec")
    _, source, new, head, new_head = moved(tmp_path / "out", *arguments)
    old_tokenizer, new_tokenizer, _, _ = vocabularies(room)
    en, de = vec(room / "en.vec"), vec(room / "de.vec")
    rotated, _ = aligned(room, "identical")
    old = token_means(old_tokenizer, {text: rotated[text] for text in en}, " ")
    ids, table = np.array(list(old)), np.array(list(old.values()))
    expected = {}
    for token, vector in token_means(new_tokenizer, de, "").items():
        z = table @ vector / np.linalg.norm(table, axis=1) / np.linalg.norm(vector)
        falling = np.sort(z)[::-1]
        k = max(r for r in range(1, len(z) + 1) if 1 + r * falling[r - 1] > falling[:r].sum())
        weights = np.maximum(z - (falling[:k].sum() - 1) / k, 0)
        expected[token] = {ids[j]: weights[j] for j in np.flatnonzero(weights)}
    specials = set(new_tokenizer.all_special_ids)
    expected = {u: row for u, row in expected.items() if u not in specials}
    check(tmp_path / "out", expected, source, new, head, new_head)


def word_links(room, least):
    links = Counter()
    for pair, line in zip((room / "parallel").open(), (room / "links").open(), strict=True):
        en, de = (side.split() for side in pair.rstrip("\n").split(" ||| "))
        links.update((en[int(i)], de[int(j)]) for i, j in (link.split("-") for link in line.split()))
    return {pair: count for pair, count in links.items() if count >= least}


def token_counts(room, least):
    """Each target piece of a linked pair gets its count: half evenly, half by position, in exact fractions."""
    old_tokenizer, new_tokenizer, _, _ = vocabularies(room)
    counts = defaultdict(lambda: defaultdict(Fraction))
    for (en, de), count in word_links(room, least).items():
        old = old_tokenizer(" " + en, add_special_tokens=False)["input_ids"]
        new = new_tokenizer(de, add_special_tokens=False)["input_ids"]
        for i, u in enumerate(new):
            for j, e in enumerate(old):
                left = max(Fraction(i, len(new)), Fraction(j, len(old)))
                right = min(Fraction(i + 1, len(new)), Fraction(j + 1, len(old)))
                over = max(right - left, 0) * len(new)
                counts[u][e] += Fraction(count, 2) * (Fraction(1, len(old)) + over)
    return counts


def test_ramen_with_links_normalises_their_counts(room, tmp_path, moved):
    arguments = ("--method", "ramen", "--parallel", room / "parallel", "--alignments", room / "links")
    record, source, new, head, new_head = moved(tmp_path / "out", *arguments)
    _, new_tokenizer, _, _ = vocabularies(room)
    expected = {u: {e: float(c / sum(row.values())) for e, c in row.items()}
                for u, row in token_counts(room, 1).items() if u not in new_tokenizer.all_special_ids}  # fmt: skip
    widest = max(map(len, expected.values()))
    assert widest <= 256, "the test's text must not need the cut of counts.MOST"
    check(tmp_path / "out", expected, source, new, head, new_head)
    assert record["alignments"]["links"] == sum(word_links(room, 1).values())


def test_transtokens_counts_links_twins_and_numbers_and_lends_to_the_rest(room, tmp_path, moved):
    arguments = ("--method", "transtokens", "--parallel", room / "parallel", "--alignments", room / "links",
                 "--option", "least=3")  # fmt: skip
    _, source, new, head, new_head = moved(tmp_path / "out", *arguments)
    old_tokenizer, _, old_tokens, new_tokens = vocabularies(room)
    counts = token_counts(room, 3)
    texts = {t.id: t.surface.text.decode() for t in new_tokens.tokens if t.kind == "text"}
    for u, e in match(old_tokens, new_tokens).shared.items():
        counts[u][e] += 1
    numbers = [u for u, text in texts.items() if text.isdecimal()]
    assert numbers
    for u in numbers:
        pieces = old_tokenizer(" " + texts[u], add_special_tokens=False)["input_ids"]
        counts[u][next(e for e in pieces if old_tokenizer.decode([e]).strip())] += 1
    shares = {u: {e: c / sum(row.values()) for e, c in row.items()} for u, row in counts.items()}
    spelled = {t.id: " " * bool(t.surface.word_start) + texts[t.id] for t in new_tokens.tokens if t.id in texts}
    starts = {t.id for t in old_tokens.tokens if t.surface and t.surface.word_start}
    expected, lent = {}, 0
    for u, text in spelled.items():
        row = shares.get(u)
        if row is None:
            lenders = [v for v, other in spelled.items() if v in shares and other.startswith(text)]
            inside = sorted((v for v, other in spelled.items() if v in shares and other in text and other),
                            key=lambda v: -len(spelled[v]))  # fmt: skip
            for n, v in enumerate(inside):
                if not any(spelled[v] in spelled[longer] for longer in inside[:n]):
                    lenders.append(v)
            row = defaultdict(Fraction)
            for v in lenders:
                for e, share in shares[v].items():
                    row[e] += share * (2 if e in starts else 1)
            lent += bool(row)
        if row:
            expected[u] = {e: float(c / sum(row.values())) for e, c in row.items()}
    assert lent > 20
    expected = {u: cut(row) for u, row in expected.items()}
    check(tmp_path / "out", expected, source, new, head, new_head)


def cut(row):
    """The 256 largest, for tokens such as a single letter that everything begins with."""
    largest = sorted(row.items(), key=lambda pair: (-pair[1], pair[0]))[:256]
    return {e: weight / sum(w for _, w in largest) for e, weight in largest}


def test_a_dictionary_makes_anchors_that_are_copied_and_counted(room, tmp_path, moved):
    plain = moved(tmp_path / "plain", "--neighbours", "plm")[0]
    arguments = ("--neighbours", "plm", "--dictionary", room / "en-de.txt")
    record, source, new, _, _ = moved(tmp_path / "out", *arguments)
    old_tokenizer, new_tokenizer, _, _ = vocabularies(room)
    english = {"und": "Ġand", "Und": "Ġand", "das": "Ġthe", "Das": "Ġthe", "die": "Ġthe", "Die": "Ġthe"}
    found = {de: en for de, en in english.items() if de in new_tokenizer.vocab}
    assert len(found) >= 3
    assert record["translated"] == len(found) == record["anchors"] - plain["anchors"]
    assert record["tokens"]["copied"] == plain["tokens"]["copied"] + len(found)
    for de, en in found.items():
        assert (new[new_tokenizer.vocab[de]] == source[old_tokenizer.vocab[en]]).all()
    assert (new[new_tokenizer.vocab["in"]] == source[old_tokenizer.vocab["Ġin"]]).all()  # spelled alike goes first


def test_guessed_anchors_are_not_held_out(room):
    """Their source rows are no ground truth."""
    source, target = (open_patient(room / name) for name in ("llm", "plm"))
    pairs = read_dictionary(lines(room / "en-de.txt"), "en-de.txt")
    problem = pose(source.vocabulary, target.vocabulary, target.embedding(), "plm", fuzzy=True, pairs=pairs)
    guessed = problem.overlap.translated | problem.overlap.fuzzy
    assert problem.overlap.translated and problem.overlap.fuzzy
    held = {int(u) for fold in folds(problem) for u in problem.anchors_target[fold]}
    assert len(held) > 50 and not held & guessed


def test_dictionary_files(tmp_path):
    (tmp_path / "muse.txt").write_text("cat katze\ncat  kater\n\n")
    with gzip.open(tmp_path / "table.tsv.gz", "wt") as file:
        file.write("European Union\tEU\tnoun\nfree of charge\tumsonst\nEuropean Union\tEU\n")
    read = lambda name: read_dictionary(lines(tmp_path / name), name)  # noqa: E731
    assert read("muse.txt") == (("cat", "katze"), ("cat", "kater"))
    assert read("table.tsv.gz") == (("European Union", "EU"), ("free of charge", "umsonst"))
    (tmp_path / "bad.txt").write_text("a b\nEuropean Union EU\nalone\nx\t \n")
    with pytest.raises(UserError, match=r"bad.txt: 3 lines are not two columns \(line 2, 3, 4\)"):
        read("bad.txt")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match="empty"):
        read("empty.txt")


def test_alignment_files():
    def links(parallel, alignments):
        return aligned_words(enumerate(parallel, 1), enumerate(alignments, 1), "text", "links")

    both = links(["the cat ||| die Katze", "a\tein", ""], ["0-0 1-1", "0-0", ""])
    assert both == {("the", "die"): 1, ("cat", "Katze"): 1, ("a", "ein"): 1}
    for parallel, alignments, message in (
        (["a ||| b", "c ||| d"], ["0-0"], "links has 1 lines, fewer"),
        (["a ||| b"], ["0-0", "0-0"], "more lines"),
        (["a ||| b"], ["0-1"], "line 1: 0-1 points beyond"),
        (["a ||| b"], ["0:0"], "Pharaoh"),
        (["a b"], ["0-0"], "two sentences"),
        (["a ||| b"], [""], "no link"),
    ):
        with pytest.raises(UserError, match=message):
            links(parallel, alignments)


def test_missing_material_is_named_with_its_option(room, tmp_path):
    vectors = {"aux": room / "de.vec", "source_aux": room / "en.vec"}
    for method, arguments, message in (
        ("wechsel", vectors, "--dictionary"),
        ("wechsel", {"aux": room / "de.vec", "dictionary": room / "en-de.txt"}, "--source-aux"),
        ("wechsel", {"source_aux": room / "en.vec", "dictionary": room / "en-de.txt"}, "--aux"),
        ("ramen", {"aux": room / "de.vec"}, "--source-aux"),
        ("transtokens", vectors, "--parallel"),
        ("transtokens", {"parallel": room / "parallel"}, "--alignments"),
        ("wechsel", {**vectors, "dictionary": room / "links"}, "two columns"),
        ("wechsel", {**vectors, "dictionary": room / "small.txt"}, r"[1-4] pairs of words have vectors.* 5 dimensions"),
    ):
        with pytest.raises(UserError, match=message):
            api.transfer(room / "llm", room / "plm", tmp_path / "out", method=method, **arguments)
        assert not (tmp_path / "out").exists()
