"""`saltjax transfer --method NAME` from end to end, on the models that come with the package."""

import json
import sys

import numpy as np
import pytest

from saltjax import api
from saltjax.cli import main
from saltjax.errors import UserError
from saltjax.hub.tensors import open_checkpoint
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.pocket.models import pocket_llm, pocket_plm
from saltjax.transfer.choose import METHODS, find, options_of
from saltjax.vocab.vocabulary import read_vocabulary, word

WITH_K = {"salt", "fvt", "focus", "ofa", "clp+", "omp", "knn"}
WITHOUT_K = {"random", "mean", "gaussian", "clp", "ridge", "procrustes", "kernel-ridge"}
TABLE = "model.embed_tokens.weight"


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """Auxiliary vectors of both vocabularies' words: random directions, which say nothing and cost nothing."""
    texts = {
        word(token)
        for directory in (pocket_llm(), pocket_plm("de"))
        for token in read_vocabulary(load_tokenizer(directory)).tokens
    }
    words = sorted(text for text in texts if text and not text.split()[1:])
    path = tmp_path_factory.mktemp("methods") / "de.vec"
    rng = np.random.default_rng(0)
    lines = (" ".join([text, *(f"{x:.3f}" for x in rng.normal(size=16))]) for text in words)
    path.write_text(f"{len(words)} 16\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_every_method_transfers_the_pocket_model(vectors, tmp_path, monkeypatch, capfd):
    """Same copies, other rows; the record says which method and with what settings. (Those that need bilingual material
    are tested with it, in test_transfer_bilingual.py.)"""
    source = open_checkpoint(pocket_llm()).read(TABLE).astype(np.float32)
    found = {}
    for method in sorted(WITH_K | WITHOUT_K):
        out = tmp_path / method
        command = ["transfer", pocket_llm(), pocket_plm("de"), out, "--aux", vectors, "--method", method, "--json"]
        command += ["--option", "k=8"] if method in ("omp", "knn") else []
        monkeypatch.setattr(sys, "argv", ["saltjax", *map(str, command)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        printed = json.loads(capfd.readouterr().out)
        record = json.loads((out / "transfer.json").read_text(encoding="utf-8"))
        assert record["method"] == printed["method"] == method
        assert record["settings"]["options"] == options_of(method) | ({"k": 8} if method in ("omp", "knn") else {})
        assert (record["k"] is None) == (method in WITHOUT_K), method
        if method in ("omp", "knn"):
            assert record["k"] == {"median": 8, "p90": 8, "max": 8}
        assert sum(n for name, n in record["tokens"].items() if name != "total") == record["tokens"]["total"]
        assert record["tokens"]["fitted"] > 2000
        found[method] = open_checkpoint(out).read(TABLE).astype(np.float32)
        assert np.isfinite(found[method]).all()
        # Nobody's rows are much longer than the source's, CLP's perhaps, whose weights may nearly cancel.
        if method != "clp":
            assert np.linalg.norm(found[method], axis=1).max() < 4 * np.linalg.norm(source, axis=1).max()
    some = found["salt"]
    for method, table in found.items():
        same = (table == some).all(axis=1)
        assert method == "salt" or 0.2 < same.mean() < 0.7  # the copied rows, and no others


def test_what_is_missing_or_unknown_is_one_line(tmp_path):
    for arguments, message in (
        ({"method": "focus"}, "--aux"),
        ({"method": "fokus"}, "did you mean focus"),
        ({"method": "knn", "options": {"kk": "3"}}, "option kk is not known; there are k"),
        ({"method": "mean", "neighbours": "plm"}, "option neighbours is not known"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            api.transfer(pocket_llm(), pocket_plm("de"), tmp_path / "out", **arguments)
        assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_every_method_is_described():
    for name in METHODS:
        method = find(name)
        assert method.space in ("aux", "plm", "none") and 10 < len(method.line) < 90
        assert all(value is not None for value in options_of(name).values()), "its type is read off the default"
