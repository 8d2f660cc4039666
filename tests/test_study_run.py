"""Runs of a study: nothing is lost, nothing done twice; a whole study of a tiny model; the page."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import pytest
import studies
import yaml
import zoo
from harness import stopped_once

from saltjax import api
from saltjax.cli import main
from saltjax.errors import UserError
from saltjax.study.commands import for_vms, listed, slurm
from saltjax.study.design import Length
from saltjax.study.execute import execute, result_file, results
from saltjax.study.grid import Run
from saltjax.train.interrupt import asked_lately, stop_wish


def made(count):
    return [Run("m", Length(1.0, "epochs"), "single", "t", "g", 10 * number, 0) for number in range(count)]


def test_what_has_a_result_is_not_done_again(tmp_path):
    runs, done = made(3), []

    def work(run, folder):
        done.append(run.budget)
        if run.budget == 10 and done.count(10) == 1:
            raise KeyboardInterrupt
        return {"budget": run.budget}

    with pytest.raises(KeyboardInterrupt):
        execute(runs, tmp_path, work)
    assert [one["budget"] for one in results(tmp_path).values()] == [0]
    outcome = execute(runs, tmp_path, work)
    assert done == [0, 10, 20, 10]  # what was never begun comes before what was
    assert sorted(outcome.finished) == sorted(run.name for run in runs) and not outcome.failed
    execute(runs, tmp_path, work)
    assert len(done) == 4


def test_a_run_that_fails_is_tried_once_more_and_reported(tmp_path):
    runs, done, said = made(4), [], []

    def work(run, folder):
        done.append(run.budget)
        if run.budget == 0 and done.count(0) == 1:
            raise OSError("the disk hiccupped")
        if run.budget == 10:
            raise RuntimeError("always")
        if run.budget == 20:
            raise UserError("seq_len is wrong")
        return {}

    outcome = execute(runs, tmp_path, work, said.append)
    assert done == [0, 0, 10, 10, 20, 30]
    assert outcome.failed == {runs[1].name: "always", runs[2].name: "seq_len is wrong"}
    assert set(results(tmp_path)) == {runs[0].name, runs[3].name}
    log = [json.loads(line) for line in (tmp_path / "runs" / runs[1].name / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in log] == ["started", "failed"] * 2 and "RuntimeError: always" in log[1]["trace"]
    assert len(said) == 4 and "failed: always" in said[1] and said[3].startswith("[2/4]")


def test_a_signal_that_a_training_finished_in_spite_of_stops_the_study_after_the_run(tmp_path):
    def work(run, folder):
        with stop_wish(lambda line: None) as wish:
            os.kill(os.getpid(), signal.SIGTERM)
            assert wish()
        return {}

    with pytest.raises(KeyboardInterrupt):
        execute(made(2), tmp_path, work, stop=asked_lately)
    assert list(results(tmp_path)) == [made(1)[0].name]


def test_a_run_that_another_program_is_at_is_left_to_it(tmp_path):
    runs = made(2)
    folder = tmp_path / "runs" / runs[0].name
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = execute(runs, tmp_path, lambda run, folder: {})
    assert outcome.skipped == [runs[0].name] and outcome.finished == [runs[1].name]
    assert not result_file(tmp_path, runs[0]).exists()


def test_a_damaged_result_is_named(tmp_path):
    execute(made(1), tmp_path, lambda run, folder: {})
    result_file(tmp_path, made(1)[0]).write_text("{")
    with pytest.raises(UserError, match=r"m\.1-epochs\.single\.t\.g\.0\.0\.json.*remove it"):
        results(tmp_path)


def test_every_run_is_one_command(tmp_path):
    runs = made(5)
    lines = listed(tmp_path / "a study", runs).splitlines()
    assert len(lines) == 5 and lines[1] == f"saltjax study run '{tmp_path}/a study' --only {runs[1].name}"
    script = slurm(tmp_path / "a study", runs, "mine", 3, 2)
    assert "--array=1-5%2\n" in script and "--time=3:00:00\n" in script
    # Bash itself: task 4 does the fourth run, and an interrupted one goes back into the queue.
    fake = 'srun() { shift 0; echo "$@"; return 130; }; scontrol() { echo "$@"; }; export -f srun scontrol\n'
    told = subprocess.run(
        ["bash", "-c", fake + script],
        env=os.environ | {"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_JOB_ID": "7"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.stdout == f"saltjax study run {tmp_path}/a study --only {runs[3].name}\nrequeue 7_4\n"
    assert told.returncode == 130
    shared = for_vms(tmp_path / "a study", runs, ["a", "b"], "z")
    assert all(shared.count(run.name) == 1 for run in runs) and shared.count("gcloud") == 2
    assert subprocess.run(["bash", "-n", "-c", shared], check=False).returncode == 0


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """Three runs of a tiny model, planned; compiled programs are kept between them."""
    folder = tmp_path_factory.mktemp("study")
    zoo.llama(folder / "llm", tokenizer="byte_bpe", dtype="float32")
    studies.write_data(folder)
    tasks = studies.content(folder)["tasks"]
    given = studies.content(
        folder, folder / "llm", tasks={"next": tasks["next"]}, budgets=[0, 2, 4], groups={"mixed": ["de", "ar"]},
        settings=["single"], seeds=[0],
    )  # fmt: skip
    file = studies.write_study(folder / "study.yaml", given)
    jax.config.update("jax_compilation_cache_dir", str(folder / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    api.study_plan(file, folder / "straight")
    api.study_run(folder / "straight")
    yield folder
    jax.config.update("jax_compilation_cache_dir", None)


def without_clock(out):
    found = results(out)
    for record in found.values():
        record.pop("tokens_per_second")
    return found


def test_a_run_is_finetuned_on_its_rows_and_answers_in_all_languages(house):
    found = results(house / "straight")
    assert set(found) == {f"tiny.2-steps.single.next.{which}.0" for which in ("none.0", "mixed.2", "mixed.4")}
    for name, record in found.items():
        scores = record["scores"]["next"]
        assert set(scores) == set(studies.LANGUAGES) and record["steps"] == 2
        assert all(0 <= one["chrf"] == one["score"] <= 1 and one["n"] == 2 for one in scores.values())
        folder = house / "straight" / "runs" / name
        left = sorted(path.name for path in folder.iterdir())
        assert left == ["answers", "lock", "log.jsonl", "trained.json"]  # data, tokens and checkpoints are gone
        answers = json.loads((folder / "answers" / "next.vi.json").read_text())["answers"]
        assert [row["right"] for row in answers] == [row["completion"] for row in studies.rows("vi", 2, start=100)]


def test_an_interrupted_study_goes_on_with_identical_results(house):
    """Stopped between two runs, and while one trains: what is done stays, the rest comes out the same."""
    out = house / "again"
    api.study_plan(house / "study.yaml", out)
    assert (out / "manifest.json").read_bytes() == (house / "straight" / "manifest.json").read_bytes()

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        api.study_run(out, say=stop)
    (first,) = results(out)
    training = out / "runs" / "tiny.2-steps.single.next.mixed.2.0" / "training"
    with stopped_once(lambda: (training / "checkpoints" / "1").exists()), pytest.raises(KeyboardInterrupt):
        api.study_run(out)  # in a step, or after the last one: then this run is finished, and no other begun
    before = set(results(out))
    assert first in before and len(before) < 3
    assert api.study_run(out) == {"finished": 3, "failed": 0, "skipped": 0, "failures": {}}
    assert without_clock(out) == without_clock(house / "straight")
    starts = {path.parent.name: path.read_text().count('"started"') for path in (out / "runs").glob("*/log.jsonl")}
    assert all(starts[name] == 1 for name in before) and sum(starts.values()) <= 4


def test_data_that_changed_since_the_plan_are_noticed(house):
    out = house / "changed"
    api.study_plan(house / "study.yaml", out)
    file = house / "next.de.train.jsonl"
    before = file.read_text()
    file.write_text(before.replace("e", "a", 1))
    try:
        with pytest.raises(UserError, match=r"next\.de\.train\.jsonl: changed since the study was planned"):
            api.study_run(out)
        (out / "results").mkdir()
        (out / "results" / "x.json").write_text("{}")
        with pytest.raises(UserError, match="has runs of another plan"):
            api.study_plan(house / "study.yaml", out)
    finally:
        file.write_text(before)


def test_a_model_that_changed_since_the_plan_is_noticed(house, monkeypatch, capsys):
    model, out = house / "copy", house / "model-changed"
    shutil.copytree(house / "llm", model)
    given = yaml.safe_load((house / "study.yaml").read_text()) | {"models": {"tiny": str(model)}}
    file = studies.write_study(house / "copy.yaml", given)
    api.study_plan(file, out)
    hashes = json.loads((out / "manifest.json").read_text())["models"]["tiny"]
    assert set(hashes) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert all(hashes[name] == hashlib.sha256((model / name).read_bytes()).hexdigest() for name in hashes)
    before = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    (model / "special_tokens_map.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["saltjax", "study", "run", str(out)])
    with pytest.raises(SystemExit) as done:
        main()
    said = capsys.readouterr().err
    assert done.value.code == 2 and said.count("\n") == 1 and not (out / "runs").exists()
    assert f"{model}/model.safetensors, {model}/special_tokens_map.json: changed since the study was planned" in said
    (out / "results").mkdir()
    (out / "results" / "x.json").write_text("{}")
    with pytest.raises(UserError, match=r"has runs of another plan \(the study, a model or data have changed\)"):
        api.study_plan(file, out)


def test_the_page_and_the_tables_say_what_the_results_say(house, monkeypatch, capsys):
    out = house / "straight"
    monkeypatch.setattr(sys, "argv", ["saltjax", "study", "analyse", str(out), "--json"])
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == {"planned": 3, "done": 3} and found["warnings"] == []
    (curve,) = found["curves"]
    scores = results(out)["tiny.2-steps.single.next.mixed.4.0"]["scores"]["next"]
    point = curve["points"][2]
    seen, unseen = (scores["de"]["score"] + scores["ar"]["score"]) / 2, scores["vi"]["score"]
    assert point["seen"]["value"] == pytest.approx(seen) and point["gap"]["value"] == pytest.approx(seen - unseen)
    assert point["seen"]["interval"] is None and curve["plateau"]["seen"] is None  # one seed
    page, table = (out / "analysis.html").read_text(), (out / "analysis.md").read_text()
    for text in (page, table):
        assert f"{seen:.3f}" in text and f"{unseen:.3f}" in text
    assert page.count("<svg") == 1 and not re.search(r"<script|(src|href)=\"?http", page)
    assert (out / "analysis.png").read_bytes()[:4] == b"\x89PNG"


def test_commands_name_mistakes_in_a_line_each(house, monkeypatch, capsys):
    def said(*words):
        monkeypatch.setattr(sys, "argv", ["saltjax", "study", *words])
        with pytest.raises(SystemExit) as done:
            main()
        return done.value.code, capsys.readouterr().err

    status, text = said("run", str(house / "nowhere"))
    assert status == 2 and "no study was planned here" in text
    status, text = said("run", str(house / "straight"), "--only", "x")
    assert status == 2 and "no run x" in text
    status, text = said("plan", str(house / "study.yaml"), str(house / "new"), "--device", "abacus")
    assert status == 2 and "--device abacus: not known; write one of" in text and not (house / "new").exists()
    (house / "other").mkdir()
    (house / "other/notes.txt").write_text("not a study")
    status, text = said("plan", str(house / "study.yaml"), str(house / "other"))
    assert status == 2 and "holds something else than a study" in text


def test_a_plan_says_what_it_takes(house):
    plain = api.study_plan(house / "study.yaml", house / "cost")
    assert plain["runs"] == 3 and plain["steps"] == 6 and plain["hours"] is None
    sizes = [one["tokens"] for one in plain["costs"]]
    assert sizes == sorted(sizes) and sizes[0] > 0
    one, eight = (api.study_plan(house / "study.yaml", house / "cost", on=on)["hours"] for on in ("H100", "8xH100"))
    assert one == pytest.approx(8 * eight) and one > 0
    assert json.loads((house / "cost" / "plan.json").read_text())["hours"] == eight


MOMENTS = ("runs/*/log.jsonl", "runs/*/training/checkpoints/1", "runs/*/trained.json", "runs/*/answers/*.json",
           "results/*.json")  # fmt: skip


@pytest.mark.slow
def test_a_study_that_is_killed_again_and_again_ends_with_the_same_results(house):
    """Killed as soon as a run has begun, has a checkpoint, is trained, has answers to a language, has a result."""
    out = house / "killed"
    api.study_plan(house / "study.yaml", out)
    command = [sys.executable, "-c", "from saltjax.cli import main; main()", "study", "run", str(out)]
    for moment in MOMENTS:
        before = set(out.glob(moment))
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None and set(out.glob(moment)) <= before:
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    done = {path: path.stat().st_mtime_ns for path in out.glob("results/*.json")}
    assert done
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    assert without_clock(out) == without_clock(house / "straight")
    assert all(path.stat().st_mtime_ns == at for path, at in done.items())
    assert not list(out.glob("runs/*/*training*"))
