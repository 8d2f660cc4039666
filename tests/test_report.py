"""The report: what is on the page is what lies on disk."""

import gzip
import json
import re
from html import unescape

import pytest
from typer.testing import CliRunner

from saltjax import api
from saltjax.cli.app import app
from saltjax.errors import UserError
from saltjax.report.gather import gather

HEADER = "id\ttoken\tsurface\torigin\tk\tresidual\tnorm\tnearest\n"
TOKENS = [
    ("0", "[PAD]", "", "fallback", "", "", "1.0000", ""),
    ("1", "[CLS]", "", "special", "", "", "0.5000", "<s>"),
    ("2", "die", "_die", "copied", "", "", "0.9000", "Ġdie"),
    ("3", "##<b>&", "<b>&", "fitted", "4", "0.9500", "0.2000", "<i> b"),
    ("4", "Hausboot", "_Hausboot", "fitted", "7", "0.2500", "0.4000", "ĠHaus boot"),
    ("5", "كتاب", "_كتاب", "fitted", "5", "0.5000", "0.3000", "a"),
    ("6", ",", ",", "copied", "", "", "0.8000", ","),
]
SCORES = {
    "ours": {"r2": 0.4, "cosine": 0.6, "mrr": 0.5, "hit1": 0.25, "norm_ratio": 0.7, "silent": 0.0, "n": 321,
             "interval": {"r2": [0.3, 0.5], "cosine": [0.5, 0.7], "mrr": [0.4, 0.6]}},
    "bad": {"r2": -3.0, "cosine": 0.1, "mrr": 0.01, "hit1": 0.0, "norm_ratio": 2.0, "silent": 0.1, "n": 321,
            "interval": {"r2": [-4.0, -2.0], "cosine": [0.0, 0.2], "mrr": [0.0, 0.1]}},
}  # fmt: skip


def write_transfer(path, method="salt"):
    path.mkdir(parents=True)
    counts = {"total": 7, "copied": 2, "fitted": 3, "special": 1, "fallback": 1}
    record = {"settings": {"source": "some/llm", "target": "some/plm"}, "method": method, "tokens": counts,
              "anchors": 2, "warnings": ["only 2 anchors"]}  # fmt: skip
    (path / "transfer.json").write_text(json.dumps(record))
    lines = HEADER + "".join("\t".join(row) + "\n" for row in TOKENS)
    (path / "tokens.tsv.gz").write_bytes(gzip.compress(lines.encode()))
    return path


def write_run(path, method="salt", start=3.0):
    write_transfer(path / "model", method)
    (path / "config.yaml").write_text("steps: 20\n")
    lines = [{"step": step, "bits_per_byte": {"de": start - step / 20, "en": 2 + step / 40}} for step in (0, 10, 20)]
    lines.insert(1, {"step": 10, "loss": 4.5})
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def written(tmp_path):
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps({"scores": SCORES}))
    salt = write_transfer(tmp_path / "llm-de")
    runs = [write_run(tmp_path / "runs" / "salt"), write_run(tmp_path / "runs" / "mean", "mean", 4.0)]
    out = tmp_path / "page.html"
    record = api.report([salt, *runs, scores], out, tokens=["die"])
    return record, out.read_text(encoding="utf-8")


def cells(page, heading):
    """The rows of the first table after a heading, as text."""
    part = page[page.index(f"<h3>{heading}</h3>") :]
    part = part[: part.index("</table>")]
    rows = re.findall(r"<tr>(.*?)</tr>", part)
    return [[unescape(re.sub("<[^>]*>", "", cell)) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]


def test_the_page_says_what_lies_on_disk(written):
    record, page = written
    # The run that began from llm-de brings the same transfer along: it is shown once.
    assert [(one["name"], one["record"]["method"]) for one in record["transfers"]] == [
        ("llm-de", "salt"),
        ("mean", "mean"),
    ]
    assert cells(page, "Overlap by script")[1:] == [
        ["Latin", "1", "2", "0", "0"],
        ["no text", "0", "0", "1", "1"],
        ["Arabic", "0", "1", "0", "0"],
        ["no letter", "1", "0", "0", "0"],
    ]
    assert cells(page, "Overlap by role")[1][:3] == ["begins a word", "1", "2"]
    assert [row[1] for row in cells(page, "Tokens: chosen")[1:]] == ["_die"]
    worst = cells(page, "Tokens: least explained")[1:]
    assert [row[1] for row in worst] == ["<b>&", "_كتاب", "_Hausboot"]
    assert worst[0] == ["3", "<b>&", "fitted", "4", "0.950", "0.200", "<i>  b"]
    assert cells(page, "Held-out text: de")[1:] == [
        ["salt", "3.0000", "2.0000", "2.0000", "20"],
        ["mean", "4.0000", "3.0000", "3.0000", "20"],
    ]
    assert "only 2 anchors" in page and "321 shared tokens" in page
    assert "-3.000 (-4.000 to -2.000)" in page
    norms = record["transfers"][0]["distributions"]["norm"]["fitted"]
    assert norms["median"] == pytest.approx(0.3) and norms["mean"] == pytest.approx(0.3)


def test_the_page_needs_nothing_from_outside(written):
    _, page = written
    without_names = re.sub(r'xmlns(:\w+)?="[^"]*"|rdf:\w+="[^"]*"', "", page)
    assert not re.search(r"<script|<link|<img|<iframe|@import|https?://|url\((?!#)", without_names)
    assert "<b>" not in page and "<i>" not in page  # tokens are text, not markup
    assert "currentColor" in page and "#010203" not in page


def test_the_json_beside_it_holds_the_same_and_the_same_bytes_come_again(written, tmp_path):
    record, page = written
    beside = json.loads((tmp_path / "page.json").read_text(encoding="utf-8"))
    assert beside["scores"] == {"scores.json": SCORES}
    assert beside["transfers"] == record["transfers"]
    assert [run["name"] for run in beside["runs"]] == ["salt", "mean"]
    paths = [tmp_path / "llm-de", tmp_path / "runs/salt", tmp_path / "runs/mean", tmp_path / "scores.json"]
    api.report(paths, tmp_path / "page.html", tokens=["die"], overwrite=True)
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page


def test_mistakes_are_one_line_and_leave_nothing(tmp_path):
    good = write_transfer(tmp_path / "good")
    empty, torn = tmp_path / "empty", write_transfer(tmp_path / "torn")
    empty.mkdir()
    packed = (torn / "tokens.tsv.gz").read_bytes()
    (torn / "tokens.tsv.gz").write_bytes(packed[: len(packed) // 2])
    out = tmp_path / "out.html"
    for paths, says in (
        ([good, empty, tmp_path / "no"], r"empty is neither .*; .*no is neither"),
        ([torn], r"tokens.tsv.gz: is damaged"),
        ([], "nothing to report on"),
    ):
        with pytest.raises(UserError, match=says):
            api.report(paths, out)
    with pytest.raises(UserError, match="let its name end"):
        api.report([good], tmp_path / "out.pdf")
    assert not list(tmp_path.glob("*out*"))
    api.report([good], out)
    with pytest.raises(UserError, match="exists already"):
        api.report([good], out)


def test_directories_of_one_name_are_told_apart(tmp_path):
    paths = [write_run(tmp_path / "de" / "run"), write_run(tmp_path / "ar" / "run", start=5.0)]
    assert [run.name for run in gather(paths).runs] == ["de/run", "ar/run"]


def test_the_command(tmp_path):
    path = write_transfer(tmp_path / "llm-de")
    result = CliRunner().invoke(app, ["report", str(path), str(tmp_path / "r.html"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["out"].endswith("r.html")
    assert (tmp_path / "r.html").exists()
