"""study run: every run of a plan that has no result yet: a finetune, answers to all tests, scores."""

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from saltjax.api._beginning import VOCABULARY_MULTIPLE
from saltjax.api._finetune import finetune
from saltjax.errors import UserError
from saltjax.hub.locate import locate
from saltjax.study.design import Study
from saltjax.study.execute import Record, execute, read_json, result_file, write_json
from saltjax.study.grid import Run, runs
from saltjax.study.identify import Identifier
from saltjax.study.judge import asking
from saltjax.study.manifest import parts, planned_study, read_manifest
from saltjax.study.metrics import METRICS, Metric
from saltjax.study.models import JUDGE, check_models
from saltjax.study.pools import Key, Pool, Questions, pools, read_questions
from saltjax.study.scoring import Subject, answers, scored
from saltjax.study.subsets import as_file, digests, ordered
from saltjax.study.trained import stored_subject, trained_subject
from saltjax.study.yamlstudy import overrides
from saltjax.train.interrupt import asked_lately

Say = Callable[[str], None]


def study_run(out: str | Path, *, only: Collection[str] = (), say: Say = lambda line: None) -> dict[str, Any]:
    """Do the runs of the plan in OUT that have no result yet, or `only` those named; what is done is not done again.

    A run is `finetune` on its subsets, then the answers of its last checkpoint to the tests of its tasks in all
    languages. Interrupted ones go on from their last checkpoint, with the answers that are there. One that fails is
    tried once more and then reported (OUT/runs/RUN/log.jsonl has the trace); the others go on. `say` is told of every
    run that ends.

    Returns finished, failed and skipped (numbers), and failures{RUN: why}. Raises UserError: nothing was planned in
    OUT, data or a model have changed since, no such run.
    """
    out = Path(out)
    content = read_manifest(out)
    study = planned_study(content)
    planned = {run.name: run for run in runs(study)}
    if unknown := [name for name in only if name not in planned]:
        raise UserError(f"{out}: no run {unknown[0]}; {out}/commands.txt names all of them")
    chosen = [run for name, run in planned.items() if not only or name in only]
    left = [run for run in chosen if not result_file(out, run).exists()]
    outcome = execute(chosen, out, _Work(study, content, left) if left else _none, say, asked_lately)
    return {
        "finished": len(outcome.finished),
        "failed": len(outcome.failed),
        "skipped": len(outcome.skipped),
        "failures": outcome.failed,
    }


def _none(run: Run, folder: Path) -> Record:
    raise AssertionError(run)


class _Work:
    """What the runs share: the study's data and models, checked against the manifest."""

    def __init__(self, study: Study, content: dict[str, Any], left: Sequence[Run]):
        self.study, self.subsets, self.models = study, content["subsets"], content["models"]
        check_models(study, self.models, sorted({run.model for run in left} | {JUDGE} & set(self.models)))
        self.tests: dict[Key, Questions] = read_questions(study)
        self.pools: dict[Key, Pool] = pools(study, self.tests, {key for run in left for key in run.rows(study)})
        changed = [
            test.file for key, test in self.tests.items() if test.sha256 != content["tests"][".".join(key)]["sha256"]
        ] + [pool.file for key, pool in self.pools.items() if pool.sha256 != content["pools"][".".join(key)]["sha256"]]
        if changed:
            raise UserError(f"{', '.join(changed)}: changed since the study was planned; plan it in another folder")
        self.identifier = Identifier(study.languages) if study.identify else None
        self.metrics: dict[str, Metric] = {
            name: METRICS[task.metric] for name, task in study.tasks.items() if task.metric in METRICS
        }
        if study.judge and len(self.metrics) < len(study.tasks):
            ask = asking(study.judge, lambda model: stored_subject(locate(model)))
            self.metrics |= {name: ask for name in study.tasks if name not in self.metrics}

    def __call__(self, run: Run, folder: Path) -> Record:
        """The record of a run. What was done before an interruption, trained or answered, is not done again."""
        training, facts = folder / "training", folder / "trained.json"
        if not facts.exists():
            write_json(facts, self._trained(run, folder, training))
        subject = None
        scores: dict[str, dict[str, Any]] = {}
        for task in run.tasks(self.study):
            files = {one: folder / "answers" / f"{task}.{one}.json" for one in self.study.languages}
            if missing := [language for language, file in files.items() if not file.exists()]:
                subject = subject or trained_subject(training, VOCABULARY_MULTIPLE)
                for language, cell in self._cells(subject, task, missing):
                    write_json(files[language], cell)
            scores[task] = {language: read_json(file)["scores"] for language, file in files.items()}
        if not self.study.keep:
            for left in folder.glob("*training*"):  # what a kill left half-written, too
                shutil.rmtree(left, ignore_errors=True)
        return {"run": run.name, "scores": scores, **read_json(facts)}

    def _trained(self, run: Run, folder: Path, training: Path) -> dict[str, Any]:
        """Trains, or goes on with it. Raises KeyboardInterrupt when a signal ended it, UserError when the model has
        changed meanwhile."""
        check_models(self.study, self.models, [run.model])
        done = finetune(
            self.study.models[run.model],
            training,
            data=self._data(run, folder / "data"),
            overrides=[
                f"cache={folder / 'tokens'}",
                *overrides(self.study),
                f"{run.length.unit}={run.length.number:g}",
                f"seed={run.seed}",
            ],
        )
        if done["interrupted"]:
            raise KeyboardInterrupt
        for name in ("data", "tokens"):
            shutil.rmtree(folder / name, ignore_errors=True)
        too_long = sum(one.get("too_long", 0) for one in done["data"]["sources"])
        return {name: done[name] for name in ("steps", "loss", "tokens_per_second")} | {"too_long": too_long}

    def _cells(self, subject: Subject, task: str, languages: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """(language, its scores and answers); written in one go, so that batches are full."""
        rows = {language: self.tests[task, language].rows for language in languages}
        found = answers(subject, [row for some in rows.values() for row in some], self.study.tasks[task].max_new)
        left = iter(found)
        for language, some in rows.items():
            mine = [next(left) for _ in some]
            texts = [one.text for one in mine]
            scores = scored(some, texts, language, self.metrics[task], self.identifier)
            values = scores.pop("values")
            lines = [
                {"prompt": row.prompt, "right": row.completion, "answer": text}
                | {name: of[number] for name, of in values.items()}
                for number, (row, text) in enumerate(zip(some, texts, strict=True))
            ]
            yield language, {"scores": scores | {"truncated": sum(one.truncated for one in mine)}, "answers": lines}

    def _data(self, run: Run, folder: Path) -> list[str]:
        """The subsets as files. Raises UserError: one is not what was planned."""
        folder.mkdir(parents=True, exist_ok=True)
        given = []
        for name, (key, rows) in parts(run, self.study).items():
            order = ordered(self.pools[key].rows, run.seed, *key)[:rows]
            if digests(order, {rows})[rows] != self.subsets[name]["sha256"]:
                raise UserError(f"{name}: other rows than planned; is another version of lingua installed here?")
            file = folder / f"{name}.jsonl"
            file.write_bytes(as_file(order))
            given.append(f"{'.'.join(key)}={file}")
        return given
