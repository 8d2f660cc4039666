"""Which factors matter: analysis of variance and a mixed model of one task's scores, by statsmodels."""

import warnings
from typing import Any

import numpy as np

from saltjax.errors import UserError

FACTORS = ("budget", "trained", "language", "group", "setting", "length", "model")
CROSSED = (("budget", "trained"), ("budget", "language"), ("budget", "setting"), ("group", "language"))

OPTIMISER = "powell"  # needs no gradient: it also ends where the runs' variance is 0


def decomposition(columns: dict[str, list[Any]]) -> dict[str, Any]:
    """`anova`: type II sums of squares of score ~ factors with two levels or more, and some of their products, each
    with its share of the sum of all squares (eta squared), F and p. `mixed`: the same terms' effects with a random
    intercept a run, since the scores of one run rise and fall together, by REML; None where it cannot be had, with
    `note`.

    Budgets are levels, not numbers: no shape of the curve is assumed. Terms are left out that others determine.
    Raises UserError: statsmodels is not installed.
    """
    try:
        import pandas
        import statsmodels.formula.api as formulas
        from statsmodels.stats.anova import anova_lm
    except ImportError:
        raise UserError("the analysis of variance is by statsmodels: pip install 'saltjax[study]'") from None
    frame = pandas.DataFrame(columns)
    frame["budget"] = frame["budget"].astype(str)
    varying = [name for name in FACTORS if frame[name].nunique() > 1]
    terms = _independent(frame, [f"C({name})" for name in varying], [])
    crossed = [f"C({a}):C({b})" for a, b in CROSSED if f"C({a})" in terms and f"C({b})" in terms]
    full = _independent(frame, crossed, terms)
    if not terms or frame["score"].nunique() < 2:
        return {"anova": None, "mixed": None, "note": "no factor varies, or all scores are equal"}
    fitted = formulas.ols("score ~ " + " + ".join(full), frame).fit()
    if fitted.df_resid < 1:
        return {"anova": None, "mixed": None, "note": "more effects than scores; run more seeds"}
    found = anova_lm(fitted, typ=2)
    total = float(((frame["score"] - frame["score"].mean()) ** 2).sum())
    anova = {
        _plain(str(name)): {
            "df": float(row["df"]),
            "share": float(row["sum_sq"]) / total,
            "F": None if np.isnan(row["F"]) else float(row["F"]),
            "p": None if np.isnan(row["PR(>F)"]) else float(row["PR(>F)"]),
        }
        for name, row in found.iterrows()
    }
    return {"anova": anova, **_mixed(formulas, frame, full)}


def _mixed(formulas: Any, frame: Any, terms: list[str]) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fitted = formulas.mixedlm("score ~ " + " + ".join(terms), frame, groups=frame["run"]).fit(method=OPTIMISER)
        except (ValueError, np.linalg.LinAlgError) as error:
            return {"mixed": None, "note": f"the mixed model could not be fitted ({error})"}
    said = sorted({str(one.message).split(";")[0].split("\n")[0] for one in caught})
    if not fitted.converged:
        return {"mixed": None, "note": "the mixed model did not converge"}
    low_high = fitted.conf_int()
    effects = {
        _plain(str(name)): {
            "effect": float(fitted.fe_params[name]),
            "interval": [float(end) for end in low_high.loc[name]],
            "p": float(fitted.pvalues[name]),
        }
        for name in fitted.fe_params.index
    }
    spread = {"run": float(fitted.cov_re.iloc[0, 0]) ** 0.5, "rest": float(fitted.scale) ** 0.5}
    return {"mixed": effects, "deviations": spread, "note": "; ".join(said)}


def _independent(frame: Any, candidates: list[str], kept: list[str]) -> list[str]:
    """`kept` and those candidates that add columns to the design which no earlier ones determine."""
    from patsy import dmatrix

    found = list(kept)
    for term in candidates:
        matrix = np.asarray(dmatrix("1 + " + " + ".join([*found, term]), frame))
        if np.linalg.matrix_rank(matrix) == matrix.shape[1]:
            found.append(term)
    return found


def _plain(name: str) -> str:
    """`C(budget)[T.20]` as `budget=20`."""
    for old, new in (("C(", ""), (")[T.", "="), ("]", ""), (")", ""), (":", " x ")):
        name = name.replace(old, new)
    return name
