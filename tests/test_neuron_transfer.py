"""The benchmark of language neurons on tasks: what is learned is what is asked, nothing is in both, all is told."""

import sys
from pathlib import Path

import numpy as np
import pytest
import zoo
from rich.console import Console

from saltjax.errors import UserError
from saltjax.evaluate.sets import Sets
from saltjax.evaluate.tasks import make
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.pocket.models import pocket_llm

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks/neuron_transfer"))
import protocol
import questions


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    questions.write_pocket_sets(folder)
    return folder


@pytest.mark.parametrize("name", ["xnli", "xquad"])
def test_english_is_learned_and_another_part_is_asked(sets, name):
    english, german = (make(f"{name}:{language}", Sets(sets)).questions for language in ("en", "de"))
    learned, asked = questions.learned(name, sets), questions.asked(name, "de", sets).questions
    assert len(learned) + len(asked) == len(german) == len(english)
    assert 0.78 < len(learned) / len(english) < 0.85
    assert asked == german[len(learned) :] and learned == english[: len(learned)]
    about = [question.passage or question.choices[0].split(", right?")[0] for question in english]
    assert not {*about[: len(learned)]} & {*about[len(learned) :]}  # no passage, no premise in both
    for question in learned:
        example = questions.example(question)
        whole = example["prompt"] + example["completion"]
        assert example["completion"][0] == " " and example["prompt"] == example["prompt"].rstrip()
        if name == "xnli":
            assert whole == question.choices[question.gold] and example["prompt"].endswith(", right?")
        else:
            assert whole == f"{question.context} {question.gold[0]}"


@pytest.mark.parametrize("name", ["xnli", "xquad"])
def test_what_is_too_long_in_one_language_is_asked_in_none(sets, name):
    tokenizer = load_tokenizer(pocket_llm())
    tasks = {language: questions.asked(name, language, sets) for language in ("en", "de", "vi")}

    def length(question):
        if name == "xquad":
            return len(tokenizer(question.context).input_ids) + 64
        wholes = [question.before + choice for choice in question.choices]
        return max(len(tokenizer(whole).input_ids) - 1 for whole in wholes)  # the last id is predicted only

    lengths = np.array([[length(question) for question in task.questions] for task in tasks.values()])
    positions = int(np.median(lengths[1]))
    fit = questions.fitting(tasks, tokenizer, positions)
    left = np.flatnonzero((lengths <= positions).all(0))
    assert 0 < len(left) < (lengths[0] <= positions).sum()  # some would fit in English
    for language, task in tasks.items():
        assert fit[language].questions == tuple(task.questions[number] for number in left)


@pytest.mark.slow
def test_from_text_to_tables(sets, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    zoo.llama(tmp_path / "m", dtype="float32", initializer_range=0.3, max_position_embeddings=256)
    text = [f"{language}={sets / 'text' / f'{language}.txt'}" for language in ("en", "de")]
    words = [
        str(tmp_path / "w"), "steps=1", "batch_size=8", "seq_len=256", "warmup_steps=0", "--model", str(tmp_path / "m"),
        "--sets", str(sets), "--text", *text, "--languages", "de", "--method", "act-prob-zero", "--rate", "0.1",
        "--tokens", "2000", "--holds", "mean", "--most", "6",
    ]  # fmt: skip
    tables = protocol.compared(protocol.options(words), Console(quiet=True))
    assert tables.count("\n| ") == 8 + 1 + 6 and "nan" not in tables
    assert "| neurons |" in tables and "| random-full-rank |" in tables
    seen = {path: path.stat().st_mtime_ns for path in (tmp_path / "w").rglob("*.jsonl") if "answers" in str(path)}
    assert protocol.compared(protocol.options(words), Console(quiet=True)) == tables
    assert seen == {path: path.stat().st_mtime_ns for path in seen}
    with pytest.raises(UserError, match="WORK was made with other options"):
        protocol.compared(protocol.options([*words, "--batch-size", "3"]), Console(quiet=True))
