"""What benchmarks/slam_quality.py learns and asks: parallel problems, the same ones in every language, none in both."""

import argparse
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import gsm8k_parallel
import slam_quality


@pytest.fixture
def data(tmp_path):
    """Six English problems; German lacks the second, Swahili has the third untranslated."""
    sets = tmp_path / "data" / "sft"
    (sets / "gsm8k").mkdir(parents=True)
    (sets / "gsm8kinstruct_question").mkdir()
    solved = [
        {"question": f"How many, {i}?", "answer": f"{i}+1=<<{i}+1={i + 1}>>{i + 1}\n#### {i + 1}"} for i in range(6)
    ]
    (sets / "gsm8k" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in solved))
    for language, word in (("de", "Wie viele"), ("sw", "Ngapi")):
        pairs = [(f"How many, {i}?", f"{word}, {i}?") for i in range(6) if (language, i) != ("de", 1)]
        if language == "sw":
            pairs[2] = (pairs[2][0], pairs[2][0])
        text = "".join(f"{one}\t{other}\n" for one, other in reversed(pairs))  # in another order than GSM8K's
        (sets / "gsm8kinstruct_question" / f"en-{language}.tsv").write_text(text)
    return tmp_path / "data"


def test_problems_are_parallel_and_held_out_ones_are_not_learned(data, tmp_path, monkeypatch):
    folder, out = tmp_path / "gsm8k", tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["gsm8k_parallel.py", str(data), str(folder), "3", "1"])
    gsm8k_parallel.main()

    def rows(path):
        return [json.loads(line) for line in path.read_text().splitlines()]

    assert [row["prompt"] for row in rows(folder / "maths.sw.train.jsonl")] == [f"Ngapi, {i}?" for i in (0, 3, 4)]
    assert [row["prompt"] for row in rows(folder / "maths.de.test.jsonl")] == ["Wie viele, 5?"]
    for language in ("en", "de", "sw"):  # the English solution, without the calculator's notes
        assert [row["completion"] for row in rows(folder / f"maths.{language}.test.jsonl")] == ["5+1=6\n#### 6"]

    languages = slam_quality.languages_of(folder)
    assert languages == ["en", "de", "sw"]
    out.mkdir()
    learned, valid = slam_quality.written_questions(argparse.Namespace(folder=folder, out=out), languages)
    assert [one.partition("=")[0] for one in valid] == ["en", "de", "sw", "de-en", "sw-en"]
    assert [(row["input"], row["output"]) for row in rows(learned)][:2] == [
        ("Wie viele, 0?", "How many, 0?"), ("Ngapi, 0?", "How many, 0?"),
    ]  # fmt: skip
    assert [row["output"] for row in rows(out / "questions.sw.test.jsonl")] == ["How many, 5?"]
    assert not {row["output"] for row in rows(learned)} & {"How many, 5?"} and len(rows(learned)) == 6

    with pytest.raises(SystemExit, match="4 problems are in all languages"):
        monkeypatch.setattr(sys, "argv", ["gsm8k_parallel.py", str(data), str(folder), "4", "1"])
        gsm8k_parallel.main()
