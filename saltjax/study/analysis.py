"""From the results of a study to all its numbers: what analysis.json holds, and tables and pictures are made of."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from saltjax.study.curves import Curve, Results, curves, table
from saltjax.study.design import Study
from saltjax.study.factors import decomposition
from saltjax.study.statistics import Estimate, correlation, difference, mean, plateau, transfer

LABELS = ("model", "length", "setting", "group", "task")
CONTRASTS = ("length", "setting", "group", "model")


def analysed(study: Study, results: Results) -> dict[str, Any]:
    """name, runs{planned, done}, languages, curves[...], contrasts[...], factors{TASK: see `factors.decomposition`}.

    A curve has its labels and `points`, one a budget: scores{LANGUAGE}, core, seen, unseen, gap (seen - unseen),
    core_gap (core - seen), transfer, wrong_unseen; and for the whole of it plateau{seen, unseen} and correlation.
    `seen` are the languages of the curve's group, the core is on its own. Values have 95 % intervals over seeds.
    """
    found = curves(study, results)
    columns = table(study, results)
    by_task = {}
    for name in study.tasks:
        chosen = [i for i, task in enumerate(columns["task"]) if task == name]
        if chosen:
            by_task[name] = decomposition({key: [values[i] for i in chosen] for key, values in columns.items()})
    return {
        "name": study.name,
        "runs": {"done": len(results)},
        "metrics": {name: task.metric for name, task in study.tasks.items()},
        "languages": {"core": study.core, "seen": list(study.seen), "unseen": list(study.unseen)},
        "groups": {name: list(members) for name, members in study.groups.items()},
        "seeds": list(study.seeds),
        "curves": [_curve(study, one) for one in found],
        "contrasts": list(_contrasts(study, found)),
        "factors": by_task,
    }


def _curve(study: Study, curve: Curve) -> dict[str, Any]:
    seen, unseen = curve.over(study.groups[curve.group]), curve.over(study.unseen) if study.unseen else None
    return {
        **dict(zip(LABELS, curve.title, strict=True)),
        "seeds": curve.scores.shape[1],
        "points": [_point(study, curve, number, seen, unseen) for number in range(len(curve.budgets))],
        "plateau": {"seen": plateau(seen, curve.budgets), "unseen": plateau(unseen, curve.budgets)}
        if unseen is not None
        else {"seen": plateau(seen, curve.budgets)},
        "correlation": correlation(seen, unseen) if unseen is not None else None,
    }


def _point(study: Study, curve: Curve, number: int, seen: np.ndarray, unseen: np.ndarray | None) -> dict[str, Any]:
    core = curve.over((study.core,))[number] if study.core else None
    found: dict[str, Any] = {
        "budget": curve.budgets[number],
        "scores": {language: _json(mean(curve.scores[number, :, i])) for i, language in enumerate(curve.languages)},
        "core": _json(mean(core)) if core is not None else None,
        "seen": _json(mean(seen[number])),
        "core_gap": _json(difference(seen[number], core)) if core is not None else None,
    }
    if unseen is None:
        return found
    wrong = curve.over(study.unseen, curve.wrong)[number]
    return found | {
        "unseen": _json(mean(unseen[number])),
        "gap": _json(difference(unseen[number], seen[number])),
        "transfer": _json(transfer(seen, unseen, number)) if number and curve.budgets[0] == 0 else None,
        "wrong_unseen": None if np.isnan(wrong).any() else _json(mean(wrong)),
    }


def _contrasts(study: Study, found: list[Curve]) -> Iterator[dict[str, Any]]:
    """Pairs of curves that differ in one label: the second less the first at the largest budget, seeds paired. Of two
    groups only the unseen languages can be compared, which are the same for both."""
    for one, other in itertools.combinations(found, 2):
        differing = [name for name in LABELS if getattr(one, name) != getattr(other, name)]
        if len(differing) != 1 or differing[0] not in CONTRASTS or one.seeds != other.seeds:
            continue
        by = differing[0]
        kinds = {"unseen": study.unseen} if by == "group" else {"seen": study.groups[one.group], "unseen": study.unseen}
        yield {
            "by": by,
            "from": getattr(one, by),
            "to": getattr(other, by),
            "at": {name: getattr(one, name) for name in LABELS if name != by},
            "budget": one.budgets[-1],
            **{kind: _json(difference(one.over(of)[-1], other.over(of)[-1])) for kind, of in kinds.items() if of},
        }


def _json(found: Estimate | None) -> dict[str, Any] | None:
    if found is None or np.isnan(found.value):
        return None
    return {"value": found.value, "interval": list(found.interval) if found.interval else None}
