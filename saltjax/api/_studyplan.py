"""study plan: the runs of a study, what each is trained on, and what all of them will take."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saltjax.api._beginning import VOCABULARY_MULTIPLE
from saltjax.data.template import Template
from saltjax.errors import UserError
from saltjax.hub.config import read_config as read_model_config
from saltjax.hub.locate import locate
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.models.families import family_of
from saltjax.study.commands import for_vms, listed, slurm
from saltjax.study.design import Study
from saltjax.study.estimate import Cost, Subject, cost, device, subject, summary, totals
from saltjax.study.execute import write_json
from saltjax.study.grid import Run, runs
from saltjax.study.identify import Identifier
from saltjax.study.manifest import FILE, as_bytes, manifest, orders, sha256_of
from saltjax.study.metrics import check_golds
from saltjax.study.models import places, read_models
from saltjax.study.pools import Key, Pool, Questions, enough, notes, pools, read_questions
from saltjax.study.rows import Row
from saltjax.study.tokens import Counter
from saltjax.study.yamlstudy import read_study, settings_of


def study_plan(
    study: str | Path,
    out: str | Path,
    *,
    on: str | None = None,
    vms: Sequence[str] = (),
    zone: str = "ZONE",
    at_once: int = 8,
) -> dict[str, Any]:
    """Plan the STUDY of a YAML file (docs/study.md) in the folder OUT, for `study_run` and `study_analyse`.

    Writes manifest.json (the study, and the SHA-256 of the models' files, of every file of rows and of every subset:
    the same for the same study, models and data), plan.json, study.yaml, commands.txt (a command a run), slurm.sh (all
    as an array job, `at_once` at a time) and, with the names of `vms`, tpu-vms.sh. `on`: a device, such as `H100` or
    `8xH100`, for the hours.

    Returns out, study, runs, manifest_sha256, tokens, steps, train_flops, test_flops, device, hours, notes, and
    costs[{run, tokens, steps, hours}].

    Raises UserError: see `study.yamlstudy.read_study`, `study.pools`; a model that cannot be had, or that the
    settings do not fit; OUT has runs of another plan.
    """
    out, asked_for = Path(out), read_study(study)
    chip = device(on) if on else None
    asked, found = _rows(asked_for)
    drawn = orders(asked_for, found)
    content = manifest(asked_for, read_models(asked_for, places(asked_for)), found, asked, drawn)
    _new_or_same(out, content)
    costs = _costs(asked_for, found, asked, drawn)
    planned = runs(asked_for)
    hours = [one.hours(*chip) for one in costs] if chip else None
    record = {
        "out": str(out),
        "study": asked_for.name,
        "runs": len(planned),
        "manifest_sha256": sha256_of(content),
        **summary(costs),
        "device": on,
        "hours": sum(hours) if hours else None,
        "notes": notes(found.values()),
        "costs": [
            {"run": run.name, "tokens": one.tokens, "steps": one.steps, "hours": hours[number] if hours else None}
            for number, (run, one) in enumerate(zip(planned, costs, strict=True))
        ],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / FILE).write_bytes(as_bytes(content))
    (out / "study.yaml").write_bytes(Path(study).read_bytes())
    write_json(out / "plan.json", record)
    (out / "commands.txt").write_text(listed(out, planned), encoding="utf-8")
    limit = max(1, math.ceil(1.5 * max(hours))) if hours else 24
    (out / "slurm.sh").write_text(slurm(out, planned, asked_for.name, limit, at_once), encoding="utf-8")
    if vms:
        (out / "tpu-vms.sh").write_text(for_vms(out, planned, vms, zone), encoding="utf-8")
    return record


def _rows(study: Study) -> tuple[dict[Key, Questions], dict[Key, Pool]]:
    """What is asked and what may be trained on; there is enough of it, and the metrics can score it."""
    asked = read_questions(study)
    for (name, language), test in asked.items():
        if study.tasks[name].metric == "maths":
            check_golds(test.rows, language, test.file)
    if study.identify:
        Identifier(study.languages)
    found = pools(study, asked)
    enough(study, found)
    return asked, found


def _new_or_same(out: Path, content: dict[str, Any]) -> None:
    file = out / FILE
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; choose another folder")
    if out.is_dir() and any(out.iterdir()) and not file.exists():
        raise UserError(f"{out}: holds something else than a study; choose another folder")
    begun = any(out.glob("runs/*")) or any(out.glob("results/*"))
    if begun and file.read_bytes() != as_bytes(content):
        raise UserError(
            f"{out}: has runs of another plan (the study, a model or data have changed); choose another folder"
        )


def _costs(
    study: Study, found: dict[Key, Pool], asked: dict[Key, Questions], drawn: dict[tuple[Key, int], list[Row]]
) -> list[Cost]:
    """Of every run, in order."""
    config = settings_of(study)
    sums: dict[tuple[str, Key, int], Any] = {}
    answers: dict[tuple[str, Key], tuple[int, int]] = {}
    subjects: dict[str, Subject] = {}
    for name, model in study.models.items():
        directory = locate(model)
        tokenizer, hf_config = load_tokenizer(directory), read_model_config(directory)
        decoder = family_of(hf_config).decoder_config(hf_config)
        if config.seq_len > decoder.max_positions:
            raise UserError(
                f"finetune.seq_len: {config.seq_len} is more than the {decoder.max_positions} positions of {model}"
            )
        subjects[name] = subject(decoder.padded(VOCABULARY_MULTIPLE), config)
        counted = Counter(tokenizer, Template(tokenizer, config.template))
        for key, pool in found.items():
            lengths = dict(zip((row.digest for row in pool.rows), counted(pool.rows).tolist(), strict=True))
            for seed in study.seeds:
                sums[name, key, seed] = totals(np.array([lengths[row.digest] for row in drawn[key, seed]]))
        for key, test in asked.items():
            new = study.tasks[key[0]].max_new * len(test.rows)
            answers[name, key] = int(counted(test.rows, asked=True).sum()), new

    def of(run: Run) -> Cost:
        tokens = sum(int(sums[run.model, key, run.seed][rows]) for key, rows in run.rows(study).items())
        written = [answers[run.model, (task, one)] for task in run.tasks(study) for one in study.languages]
        return cost(subjects[run.model], run.length, tokens, written)

    return [of(run) for run in runs(study)]
