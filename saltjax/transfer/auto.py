"""The method that predicts held-out rows best, and why it was taken."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Shaped

from saltjax.errors import UserError
from saltjax.transfer.choose import METHODS, rule, with_options
from saltjax.transfer.initialisation import Rule
from saltjax.transfer.material import Material
from saltjax.transfer.problem import Problem
from saltjax.transfer.scoring import CRITERION, Initialise, score


def auto(
    problem: Problem,
    material: Material,
    table: Shaped[np.ndarray, "vs hs"],
    done: Callable[[str], None] = lambda name: None,
) -> tuple[str, dict[str, Any]]:
    """(method, record{why, scores{METHOD: mrr}, skipped{METHOD: why not}}) of all methods whose material is there.

    Taken is the one whose rows of the source's input embedding have the true row nearest: the highest mean reciprocal
    rank on held-out tokens, the score that says most about the loss after training (docs/scores.md). Raises UserError
    for too few anchors.
    """
    found, _, skipped = score(problem, initialisers(METHODS, material), table, seed=material.seed, done=done)
    if not found:
        raise UserError("--method auto: no method could be scored; " + "; ".join(skipped.values()))
    best, *others = found
    low, high = found[best]["interval"][CRITERION]
    why = f"of {len(found)} methods it comes nearest to {found[best]['n']:,} held-out source rows: "
    why += f"mean reciprocal rank {found[best][CRITERION]:.3f} (95 %: {low:.3f} to {high:.3f})"
    if others:
        behind = found[others[0]]["behind"]
        low, high = behind["interval"]
        why += f"; {others[0]} has {behind['difference']:.3f} less ({low:.3f} to {high:.3f})"
    values = {name: scores[CRITERION] for name, scores in found.items()}
    return best, {"why": why, "scores": values, "skipped": skipped}


def initialisers(names: Sequence[str], material: Material) -> dict[str, Initialise]:
    """name -> what makes its rule of a problem; a name is NAME or NAME:KEY=VALUE:... (`choose.with_options`)."""
    return {name: partial(_rule, name, material) for name in names}


def _rule(name: str, material: Material, problem: Problem) -> Rule:
    method, options = with_options(name)
    return rule(method, problem, material, options)
