"""The replication's command end to end with tiny models, that it goes on where it was stopped, and its statistics."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.stats
from jax.experimental.compilation_cache import compilation_cache
from rich.console import Console

from saltjax.errors import UserError
from saltjax.pocket.corpus import documents, write_text

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks/replication"))
import answers
import results
import tables
import texts
from arms import OWN, planned
from run import replicate
from settings import GPU, SMALL, TINY
from t5 import corrupted


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    for language in ("en", "de"):
        for split in ("train", "valid"):
            write_text(documents(language, split), folder / f"{language}.{split}.txt")
    return folder


@pytest.fixture(scope="module")
def work(folder, tmp_path_factory):
    """A finished replication of the tiny setting; all its adaptations share one compiled step."""
    work = tmp_path_factory.mktemp("work")
    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", str(work / "jax-cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    replicate(folder, work, TINY, ["de"], None, Console(quiet=True), questions=3)
    yield work
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
    compilation_cache.reset_cache()


def test_every_arm_is_measured(work):
    records = [json.loads(path.read_text()) for path in (work / "arms").glob("*.json")]
    found = sorted((one["plm"], one["method"], one["seed"]) for one in records)
    both = [("bert", method, seed) for method in ("gaussian", "salt") for seed in (0, 1)]
    assert found == sorted([*both, ("bert", OWN, 0), ("gpt", "gaussian", 0), ("t5", "gaussian", 0)])
    for one in records:
        assert set(one["bits_per_byte"]) == {"de", "en"} == set(one["unknown"])
        assert all(0 <= unknown <= tokens and tokens > 10 for unknown, tokens in one["unknown"].values())
        for curve in one["bits_per_byte"].values():
            assert [step for step, _ in curve] == [0, 1, 2] and all(1 < value < 20 for _, value in curve)
    (a, b) = (one["bits_per_byte"]["de"] for one in records if (one["plm"], one["method"]) == ("bert", "salt"))
    assert a[-1] != b[-1]  # the seeds are other runs
    assert {path.name for path in (work / "models").iterdir()} == {"llm", "bert-de", "gpt-de", "t5-de"}


def test_what_is_missing_is_done_again_and_nothing_else(work, folder):
    arms = work / "arms"
    before = {path: path.stat().st_mtime_ns for path in arms.iterdir()}
    lost = arms / "de.bert.gaussian.1.json"
    kept = json.loads(lost.read_text())
    lost.unlink()
    (work / "run").mkdir()  # what an interrupted arm leaves
    kept_files = [*work.glob("models/*/model.safetensors"), *work.glob("asked/*.json")]
    models = {path: path.stat().st_mtime_ns for path in kept_files}
    replicate(folder, work, TINY, ["de"], None, Console(quiet=True), questions=3)
    after = {path: path.stat().st_mtime_ns for path in arms.iterdir()}
    assert {path for path in before if before[path] != after[path]} == {lost} and set(after) == set(before)
    assert all(path.stat().st_mtime_ns == when for path, when in models.items())
    assert json.loads(lost.read_text())["bits_per_byte"] == kept["bits_per_byte"]


def test_results_come_from_the_records_alone(work, tmp_path):
    alone = tmp_path / "alone"
    (alone / "arms").mkdir(parents=True)
    for path in (work / "arms").glob("*.1.json"):  # a run that was stopped: one seed, no other PLMs
        (alone / "arms" / path.name).write_text(path.read_text())
    text = results.write_results(alone).read_text()
    assert "seeds 1 of gaussian, salt" in text and "architecture" not in text and "±" not in text.split("###")[1]
    doc = tmp_path / "replication.md"
    for _ in range(2):  # the second time it replaces what it wrote
        results.write_results(work, doc)
        written = doc.read_text()
        assert written.count("### de") == written.count(results.BEGIN) == 1 and "Which claims held" in written
        assert "| de | gaussian | t5 |" in written and "rank correlation" in written
        assert "(English, t5)" in written
    assert (tmp_path / "replication.png").read_bytes().startswith(b"\x89PNG")
    one = json.loads((work / "arms/de.bert.salt.0.json").read_text())["bits_per_byte"]["de"][-1][1]
    two = json.loads((work / "arms/de.bert.salt.1.json").read_text())["bits_per_byte"]["de"][-1][1]
    row = next(line for line in written.splitlines() if line.startswith("| salt |"))
    assert f"{np.mean([one, two]):.3f} ± {np.std([one, two], ddof=1):.3f}" in row


def test_questions_are_asked_before_and_after(work):
    found = {path.name: json.loads(path.read_text())["answers"] for path in (work / "asked").glob("*.json")}
    assert set(found) == {f"de.bert.{method}.0.json" for method in ("own-vocabulary", "gaussian", "salt")}
    for whens in found.values():
        assert set(whens) == {"step 0", "step 2"}
        for tasks in whens.values():
            assert tasks["continuation:de"]["n"] == 5 and 0 <= tasks["continuation:de"]["accuracy"] <= 1
    text = results.write_results(work).read_text()
    assert "| continuation:de | 5 | step 0 |" in text and "| continuation:de | 5 | step 2 |" in text


def test_the_right_choice_goes_on_with_the_text(folder):
    held_out = folder / "de.train.txt"
    (task,) = answers.questions_of("de", held_out, None, 30)
    assert len(task.questions) == 60 and {question.gold for question in task.questions} == {0, 1, 2, 3}
    for question in task.questions:
        assert len({*question.choices}) == 4
        whole = [f"{question.context} {choice}" for choice in question.choices]
        found = [any(one in text for text in held_out.read_text().splitlines()) for one in whole]
        assert found == [place == question.gold for place in range(4)]
    assert answers.guess(task) == max(0.25, np.bincount([question.gold for question in task.questions]).max() / 60)
    assert answers.questions_of("de", held_out, None, 30)[0].questions == task.questions


def test_short_documents_make_no_questions(tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("a short line\n" * 9)
    with pytest.raises(UserError, match=r"short\.txt: fewer than four documents of 480 characters"):
        answers.questions_of("de", short, None, 5)


def test_another_setting_needs_another_directory(work, folder):
    with pytest.raises(UserError, match="another setting"):
        replicate(folder, work, replace(TINY, steps=9), ["de"], None, Console(quiet=True))


def test_text_that_is_too_short_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match=r"de\.train\.txt: .* MB in pieces before its last 20 documents"):
        texts.prepared(folder, tmp_path, replace(TINY, megabytes_plm=5.0), ["de"])


def test_adaptation_text_is_unseen(work):
    parts = {part: set((work / f"text/de.{part}.txt").read_text().splitlines()) for part in ("plm", "aux", "train")}
    seen = set((work / "text/llm.txt").read_text().splitlines()) | parts["plm"]
    assert parts["aux"] <= parts["plm"] and len(parts["train"]) == 20 and not parts["train"] & seen


@pytest.mark.parametrize("setting", [SMALL, GPU])
def test_arms_go_seed_after_seed(setting):
    arms = planned(setting, ["de", "ar", "vi"], dictionaries=True)
    assert [arm.seed for arm in arms] == sorted(arm.seed for arm in arms)
    assert len({arm.file for arm in arms}) == len(arms) == 3 * (3 * 11 + 1 + 2 * 3)
    assert not any(arm.method == "wechsel" for arm in planned(setting, ["de"], dictionaries=False))


def record(values, seed=0, method="salt", language="de"):
    curve = [(10 * i, value) for i, value in enumerate(values)]
    curves = {language: curve, "en": [(step, 2 * value) for step, value in curve]}
    return {"language": language, "plm": "bert", "method": method, "seed": seed, "bits_per_byte": curves}


def test_steps_to_the_same_loss():
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = np.sort(rng.random(6))[::-1]
        level = rng.uniform(values[-1], values[0])
        expected = np.interp(-level, -values, 10.0 * np.arange(6))  # the inverse of a falling curve
        assert tables.steps_to(record(values)["bits_per_byte"]["de"], level) == pytest.approx(expected)
    assert tables.steps_to([(0, 1.0), (10, 0.5)], 1.2) == 0
    assert tables.steps_to([(0, 1.0), (10, 0.5)], 0.4) is None
    slow, fast = record([3, 2.5, 2.0]), record([3, 2.0, 1.5])
    assert tables.speedup(fast, slow) == pytest.approx(2) and tables.speedup(slow, fast) is None


def test_means_intervals_and_pairs_are_numpys():
    rng = np.random.default_rng(1)
    curves = {key: rng.random(3) for key in [(m, lang, s) for m in "ab" for lang in ("de", "vi") for s in range(3)]}
    records = [record(values, s, method, lang) for (method, lang, s), values in curves.items()]
    del records[0]  # a without German seed 0: that pair is left out
    pairs = [(lang, s) for lang in ("de", "vi") for s in range(3) if (lang, s) != ("de", 0)]
    expected = [curves["a", *pair][-1] - curves["b", *pair][-1] for pair in pairs]
    found = tables.differences(records, "a", "b", None, -1)
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(tables.differences(records, "a", "b", "en", -1), 2 * np.array(expected))
    low, high = scipy.stats.ttest_1samp(expected, 0).confidence_interval(0.95)
    assert tables.interval(found) == pytest.approx((high - low) / 2)
    assert tables.mean(expected)[:2] == pytest.approx((np.mean(expected), np.std(expected, ddof=1)))
    assert tables.rank_correlation({"x": 3.0, "y": 2.0, "z": 1.0}, {"x": 0.1, "y": 0.2, "z": 0.3}) == (1.0, 3)


def test_a_corrupted_window_can_be_put_together_again():
    rng = np.random.default_rng(2)
    sentinels, window = np.arange(1000, 1032), np.arange(96)
    shapes = set()
    for _ in range(20):
        seen, said = corrupted(window, sentinels, 1, rng)
        shapes.add((len(seen), len(said)))
        assert seen[-1] == said[-1] == 1
        spans = {part[0]: part[1:] for part in np.split(said[:-1], np.flatnonzero(said[:-1] >= 1000)) if len(part)}
        assert all(len(span) for span in spans.values())
        whole = [one for token in seen[:-1] for one in (spans[token] if token >= 1000 else [token])]
        np.testing.assert_array_equal(whole, window)
        assert sum(map(len, spans.values())) == round(0.15 * 96)
    assert len(shapes) == 1
