"""Which method: one name, one line on it, one case."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from saltjax.errors import UserError
from saltjax.transfer.initialisation import Rule
from saltjax.transfer.material import Material
from saltjax.transfer.methods.align import align
from saltjax.transfer.methods.clp import clp, clp_plus
from saltjax.transfer.methods.focus import focus
from saltjax.transfer.methods.fvt import fvt
from saltjax.transfer.methods.gaussian import gaussian
from saltjax.transfer.methods.kernelridge import kernel_ridge
from saltjax.transfer.methods.knn import knn
from saltjax.transfer.methods.mean import mean
from saltjax.transfer.methods.ofa import ofa
from saltjax.transfer.methods.omp import omp
from saltjax.transfer.methods.procrustes import procrustes
from saltjax.transfer.methods.ramen import ramen
from saltjax.transfer.methods.random import random
from saltjax.transfer.methods.ridge import ridge
from saltjax.transfer.methods.salt import salt
from saltjax.transfer.methods.transtokens import transtokens
from saltjax.transfer.methods.wechsel import wechsel
from saltjax.transfer.mixture import Mixture
from saltjax.transfer.problem import Problem, Space

METHODS = (
    "salt",
    "random",
    "mean",
    "gaussian",
    "fvt",
    "focus",
    "ofa",
    "clp",
    "clp+",
    "omp",
    "knn",
    "ridge",
    "procrustes",
    "wechsel",
    "ramen",
    "transtokens",
    "align",
    "kernel-ridge",
)


class Method(NamedTuple):
    """initialise: (problem, material, **options) -> a rule; its keyword-only arguments are the method's options.
    space: what must describe a token (`problem.pose`). line: what a row is. copies: whether tokens that both
    vocabularies have keep their rows; if not, the method estimates them too. vectors: whether it looks at auxiliary
    vectors, where there are any, although they need not describe a token."""

    initialise: Callable[..., Rule]
    space: Space
    line: str
    copies: bool = True
    vectors: bool = False


def find(name: str) -> Method:
    """The method of this name. Raises UserError, naming the nearest."""
    match name:
        case "salt":
            return Method(salt, "aux", "least squares in the PLM over the sparsemax neighbours of an auxiliary space")
        case "random":
            return Method(random, "none", "N(mean, deviation) of each of the source's columns")
        case "mean":
            return Method(mean, "none", "the mean of the source rows")
        case "gaussian":
            return Method(gaussian, "none", "N(mean, eps covariance) of the source rows")
        case "fvt":
            return Method(fvt, "none", "the mean of the token's pieces in the source's tokenizer")
        case "focus":
            return Method(focus, "aux", "sparsemax over the cosines to the anchors in an auxiliary space")
        case "ofa":
            return Method(ofa, "aux", "softmax over the 10 nearest source tokens, in a factorised source table")
        case "clp":
            return Method(clp, "plm", "all anchors, weighted by their cosines in the PLM")
        case "clp+":
            return Method(clp_plus, "plm", "sparsemax over the cosines to the anchors in the PLM")
        case "omp":
            return Method(omp, "plm", "least squares in the PLM over greedily chosen anchors")
        case "knn":
            return Method(knn, "plm", "least squares in the PLM over the nearest anchors there")
        case "ridge":
            return Method(ridge, "plm", "one linear map from PLM rows to source rows, ridge regression")
        case "procrustes":
            return Method(procrustes, "plm", "one rotation from PLM rows to source rows")
        case "wechsel":
            line = "softmax over the nearest source tokens in aligned word vectors"
            return Method(wechsel, "none", line, copies=False, vectors=True)
        case "ramen":
            line = "translation probabilities, from aligned word vectors or a parallel text"
            return Method(ramen, "none", line, copies=False, vectors=True)
        case "transtokens":
            line = "source tokens weighted by word alignments of a parallel text"
            return Method(transtokens, "none", line, copies=False)
        case "align":
            return Method(align, "none", "the source's pieces where the token stands in text, by frequency")
        case "kernel-ridge":
            line = "kernel ridge regression from PLM rows, fitted to all anchors (ours)"
            return Method(kernel_ridge, "plm", line, vectors=True)
        case _:
            near = difflib.get_close_matches(name, METHODS, 1)
            raise UserError(
                f"--method {name} is not known; "
                + (f"did you mean {near[0]}? " if near else "")
                + f"There are {', '.join(METHODS)}"
            )


def rule(
    method: str, problem: Problem, material: Material | None = None, options: Mapping[str, Any] | None = None
) -> Rule:
    """The rule that `method` makes of a posed problem, which may have held-out anchors among its new tokens.

    `options` are the method's own (see `options_of`); values may be strings as a command line has them. A `Mixture`
    that this returns may have tokens of support 0: the method has nothing to say about them (see `settled`).

    Raises UserError: unknown method or option, a value of the wrong type, or material that is missing.
    """
    chosen, values = find(method), typed(method, options or {})
    try:
        return chosen.initialise(problem, material or Material(), **values)
    except UserError as error:
        raise UserError(f"--method {method}: {error}") from None


def settled(problem: Problem, rule: Rule) -> tuple[Problem, Rule]:
    """Tokens that the rule has nothing to say about (support 0) become fallback tokens, counted, with a warning."""
    if not isinstance(rule, Mixture) or rule.support.all():
        return problem, rule
    kept = np.flatnonzero(rule.support)
    left = np.delete(problem.new, kept)
    message = f"the method has nothing to say about {len(left)} of {len(problem.new)} new tokens: their rows are random"
    return (
        replace(
            problem,
            new=problem.new[kept],
            hidden=problem.hidden[kept],
            plm_new=problem.plm_new[kept],
            aux_new=None if problem.aux_new is None else problem.aux_new[kept],
            fallback=np.sort(np.concatenate([problem.fallback, left])),
            warnings=[*problem.warnings, message],
        ),
        replace(
            rule,
            indices=rule.indices[kept],
            weights=rule.weights[kept],
            support=rule.support[kept],
            residual=None if rule.residual is None else rule.residual[kept],
        ),
    )


def with_options(name: str) -> tuple[str, dict[str, str]]:
    """NAME:KEY=VALUE:... as (NAME, {KEY: VALUE}): how a list of methods names one with other options."""
    method, *pairs = name.split(":")
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise UserError(f"{name}: {wrong[0]} must be KEY=VALUE")
    return method, dict(pair.split("=", 1) for pair in pairs)


def options_of(method: str) -> dict[str, Any]:
    """The method's options and their defaults: the keyword-only arguments of its function."""
    parameters = inspect.signature(find(method).initialise).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def typed(method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with each value in its default's type. Raises UserError."""
    known = options_of(method)
    try:
        return {name: _typed(name, value, known) for name, value in options.items()}
    except UserError as error:
        raise UserError(f"--method {method}: {error}") from None


def _typed(name: str, value: Any, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise UserError(f"option {name} is not known; there are {', '.join(known) or 'none'}")
    kind = type(known[name])
    if kind is bool and isinstance(value, str):
        if value.lower() not in ("true", "false"):
            raise UserError(f"option {name}={value} must be true or false")
        return value.lower() == "true"
    try:
        return kind(value)
    except ValueError:
        raise UserError(f"option {name}={value} must be of type {kind.__name__}") from None
