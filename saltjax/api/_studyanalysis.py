"""study analyse: what the results of a study say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from saltjax.errors import UserError
from saltjax.report.studypage import study_page
from saltjax.report.studypictures import all_pictures
from saltjax.study.analysis import analysed
from saltjax.study.execute import results
from saltjax.study.grid import runs
from saltjax.study.manifest import planned_study, read_manifest
from saltjax.study.tables import markdown


def study_analyse(out: str | Path) -> dict[str, Any]:
    """Write OUT/analysis.json, .md, .html and .png from the results that are there, and return the first with `out`.

    The content is `study.analysis.analysed`'s, runs{planned, done} and `warnings` about what is missing or was cut.
    Raises UserError: nothing was planned, or nothing is done.
    """
    out = Path(out)
    study = planned_study(read_manifest(out))
    planned = [run.name for run in runs(study)]
    done = {name: one for name, one in results(out).items() if name in set(planned)}
    if not done:
        raise UserError(f"{out}: no run is done yet; `saltjax study run {out}`")
    found = analysed(study, done)
    found["runs"] = {"planned": len(planned), "done": len(done)}
    found["warnings"] = list(_warnings(len(planned), done, found["factors"]))
    (out / "analysis.json").write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (out / "analysis.md").write_text(markdown(found), encoding="utf-8")
    (out / "analysis.html").write_text(study_page(found, "analysis.json") + "\n", encoding="utf-8")
    if found["curves"]:
        all_pictures(out / "analysis.png", found)
    return {"out": f"{out}/analysis.html, .md, .json, .png", **found}


def _warnings(planned: int, done: dict[str, dict[str, Any]], factors: dict[str, dict[str, Any]]) -> Iterator[str]:
    if len(done) < planned:
        yield f"{planned - len(done)} runs have no result; seeds without all budgets are left out of their curves"
    if count := sum(one["too_long"] for one in done.values()):
        runs_with = sum(one["too_long"] > 0 for one in done.values())
        yield f"{count:,} training rows were longer than seq_len and left out (in {runs_with} runs)"
    cut = sum(one["truncated"] for run in done.values() for of in run["scores"].values() for one in of.values())
    if cut:
        yield f"{cut:,} prompts of tests lost their beginning: with max_new they exceed the model's positions"
    unjudged = [one["unjudged"] for run in done.values() for of in run["scores"].values() for one in of.values()
                if "unjudged" in one]  # fmt: skip
    if unjudged and max(unjudged) > 0:
        yield f"the judge gave no rating to {sum(unjudged) / len(unjudged):.1%} of the answers, which count as 0"
    for task, found in factors.items():
        missing = {"anova": "analysis of variance", "mixed": "mixed model"}
        if names := [name for kind, name in missing.items() if found[kind] is None]:
            yield f"{task}: no {' and no '.join(names)} ({found['note']})"
