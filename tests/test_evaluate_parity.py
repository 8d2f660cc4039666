"""Ranked choices have the log-likelihoods that lm-evaluation-harness and plain PyTorch give them.

`lm_eval_scores.json` holds what lm-evaluation-harness 0.4.13 gave with its own prompts for the sets of
`evaluation_sets.py` and the pocket model, made by

    python benchmarks/lm_eval_side.py saltjax/pocket/weights/llm SETS tests/lm_eval_scores.json TASK...

Where lm_eval is installed (the extra `eval-parity`) it is also run here.
"""

import json
import sys
from pathlib import Path

import evaluation_sets
import numpy as np
import pytest
from transformers import AutoTokenizer

from saltjax.evaluate.loglikelihood import loglikelihoods
from saltjax.evaluate.sets import Sets
from saltjax.evaluate.task import limited, with_shots
from saltjax.evaluate.tasks import make
from saltjax.evaluate.trees import pairs
from saltjax.models.load import load_model

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "saltjax/pocket/weights/llm"
THEIRS = json.loads((ROOT / "tests/lm_eval_scores.json").read_text())["scores"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return evaluation_sets.write(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def model():
    return load_model(MODEL), AutoTokenizer.from_pretrained(MODEL)


def ours(folder, model, word):
    """(task, the log-likelihoods of each of its questions) for NAME:LANG or NAME:LANG+SHOTS."""
    name, _, shots = word.partition("+")
    task = with_shots(make(name, Sets(folder)), int(shots or 0))
    found = pairs(model[1], task.questions, model[0].config.max_positions)
    return task, [values for _, values in sorted(loglikelihoods(model[0], found.pairs, batch_size=2))]


@pytest.mark.parametrize("word", THEIRS)
def test_scores_are_those_of_lm_evaluation_harness(folder, model, word):
    task, found = ours(folder, model, word)
    if word.startswith("m_truthfulqa"):  # it has a task for each of the two lists
        found = [
            [values[i] for i in question.gold.several] for question, values in zip(task.questions, found, strict=True)
        ]
    assert [len(row) for row in found] == [len(row) for row in THEIRS[word]]
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(THEIRS[word]), rtol=3e-6, atol=3e-4)


def test_they_are_those_of_pytorch(folder, model):
    """Each choice alone, in float64: no shared trunk, no rows, no cache."""
    from transformers import AutoModelForCausalLM

    reference = AutoModelForCausalLM.from_pretrained(MODEL).double().eval()
    task, found = ours(folder, model, "m_arc:vi")
    for question, values in zip(limited(task, 4).questions, found, strict=False):
        context = model[1].encode(question.context)
        for choice, value in zip(question.choices, values, strict=True):
            ids = context + model[1].encode(f"{question.context} {choice}")[len(context) :]
            with torch.no_grad():
                logs = torch.log_softmax(reference(torch.tensor([ids])).logits[0], dim=-1)
            expected = sum(logs[at - 1, ids[at]].item() for at in range(len(context), len(ids)))
            assert value == pytest.approx(expected, rel=1e-6, abs=2e-4)


def test_lm_evaluation_harness_says_the_same_today(folder, model, monkeypatch):
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    from lm_eval_side import Harness

    harness = Harness(MODEL, folder, ["xnli:vi", "m_arc:vi", "m_mmlu:vi"])
    for word in harness.names:
        theirs = harness.scores(word)
        task, found = ours(folder, model, word)
        np.testing.assert_allclose(np.concatenate(found), np.concatenate(theirs), rtol=3e-6, atol=3e-4)
        right = [task.score(question, values)["acc"] for question, values in zip(task.questions, found, strict=True)]
        result = harness.run(word)["results"][harness.names[word]]
        assert np.mean(right) == pytest.approx(result["acc,none"])
