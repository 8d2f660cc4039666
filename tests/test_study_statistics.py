"""The statistics of a study against scipy, statsmodels and hand-made data."""

import itertools

import numpy as np
import pandas
import pytest
import statsmodels.formula.api as formulas
from scipy.stats import bootstrap, pearsonr
from statsmodels.stats.anova import anova_lm

from saltjax.study.factors import decomposition
from saltjax.study.statistics import correlation, difference, draws, estimate, mean, plateau, transfer


def test_few_seeds_are_resampled_in_every_way():
    assert sorted(map(tuple, draws(3).tolist())) == sorted(itertools.product(range(3), repeat=3))
    values = np.array([0.1, 0.4, 0.3])
    found = mean(values)
    means = [np.mean(some) for some in itertools.product(values, repeat=3)]
    assert found.value == pytest.approx(values.mean())
    assert found.interval == pytest.approx(tuple(np.quantile(means, (0.025, 0.975))))
    assert mean(np.array([0.2])).interval is None


def test_many_seeds_agree_with_scipys_bootstrap():
    values = np.random.default_rng(1).normal(size=12)
    theirs = bootstrap((values,), np.mean, n_resamples=20000, method="percentile", rng=np.random.default_rng(2))
    assert mean(values).interval == pytest.approx(tuple(theirs.confidence_interval), abs=0.03)


def test_differences_are_paired_by_seed():
    """Seeds that differ a lot, and an effect that is the same for all of them."""
    a = np.array([0.1, 0.5, 0.9])
    found = difference(a, a + 0.02)
    assert found.value == pytest.approx(0.02) and found.interval == pytest.approx((0.02, 0.02))


def test_transfer_is_the_ratio_of_gains():
    seen = np.array([[0.10, 0.12, 0.11], [0.30, 0.31, 0.32]])
    unseen = np.array([[0.05, 0.06, 0.04], [0.10, 0.12, 0.09]])
    found = transfer(seen, unseen, 1)
    gains = (unseen[1].mean() - unseen[0].mean()) / (seen[1].mean() - seen[0].mean())
    assert found.value == pytest.approx(gains)
    assert found.interval[0] < gains < found.interval[1]
    # Where it cannot be told whether the seen languages gained, there is no ratio.
    assert transfer(np.array([[0.1, 0.2, 0.3], [0.2, 0.1, 0.35]]), unseen, 1) is None
    assert transfer(np.array([[0.1], [0.1]]), unseen[:, :1], 1) is None
    assert transfer(np.array([[0.0, 0.0, 0.0], [0.0, 0.01, 0.015]]), unseen, 1) is None  # a seed without any gain
    assert transfer(np.array([[0.1], [0.2]]), unseen[:, :1], 1).interval is None


def test_the_plateau_is_within_one_standard_error_of_the_best():
    budgets = (0, 10, 20, 40)
    means = np.array([0.1, 0.28, 0.29, 0.30])
    noise = np.array([-0.02, 0.0, 0.02])
    values = means[:, None] + noise  # standard error 0.02 / sqrt(3) = 0.0115
    assert plateau(values, budgets) == 20
    assert plateau(means[:, None] + 2 * noise, budgets) == 10
    assert plateau(means[::-1, None] + noise, budgets) == 0
    assert plateau(means[:, None], budgets) is None


def test_correlation_is_pearsons():
    rng = np.random.default_rng(0)
    seen, unseen = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    assert correlation(seen, unseen) == pytest.approx(pearsonr(seen.mean(axis=1), unseen.mean(axis=1)).statistic)
    assert correlation(seen[:2], unseen[:2]) is None
    assert correlation(np.ones((5, 3)), unseen) is None


def test_estimates_take_the_same_seeds_of_all_tables():
    a, b = np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 4.0])
    assert estimate(lambda x, y: (x - y).mean(axis=-1), a, b).interval == (0, 0)


def made(seed=0, groups=("latin", "mixed")):
    """Scores with known effects: budget +0.2 in trained languages alone, German +0.1, no effect of the group."""
    rng = np.random.default_rng(seed)
    columns = {name: [] for name in "run task model length setting group budget seed language trained score".split()}
    for budget, group, number in itertools.product((0, 10), groups, range(8)):
        lift = rng.normal(0, 0.02)  # of the whole run
        for language in ("en", "de", "ar", "vi"):
            trained = language == "en" or language == "de" or (language == "ar" and group == "mixed")
            score = 0.3 + 0.2 * (budget > 0 and trained) + 0.1 * (language == "de") + lift + rng.normal(0, 0.01)
            values = (f"{budget}.{group}.{number}", "t", "m", "1 epochs", "single", group, budget, number, language,
                      "yes" if trained else "no", score)  # fmt: skip
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    return columns


def test_the_analysis_of_variance_is_statsmodels():
    columns = made()
    found = decomposition(columns)["anova"]
    frame = pandas.DataFrame(columns).astype({"budget": str})
    terms = "C(budget) + C(trained) + C(language) + C(group) + C(budget):C(trained) + C(budget):C(language)"
    fitted = formulas.ols(f"score ~ {terms}", frame).fit()
    whole = ((frame["score"] - frame["score"].mean()) ** 2).sum()
    theirs = anova_lm(fitted, typ=2)
    named = {"budget": "C(budget)", "language": "C(language)", "budget x trained": "C(budget):C(trained)"}
    for name, term in named.items():
        assert found[name]["F"] == pytest.approx(theirs.loc[term, "F"])
        assert found[name]["p"] == pytest.approx(theirs.loc[term, "PR(>F)"])
        assert found[name]["share"] == pytest.approx(theirs.loc[term, "sum_sq"] / whole)
    assert found["budget x trained"]["p"] < 1e-6 < 0.01 < found["group"]["p"]


def test_the_mixed_model_finds_the_effects_and_the_runs_spread():
    found = decomposition(made())
    effect = found["mixed"]["budget=10 x trained=yes"]
    assert effect["interval"][0] < 0.2 < effect["interval"][1] and effect["p"] < 1e-6
    assert found["mixed"]["group=mixed"]["interval"][0] < 0 < found["mixed"]["group=mixed"]["interval"][1]
    frame = pandas.DataFrame(made()).astype({"budget": str})
    terms = "C(budget) + C(trained) + C(language) + C(group) + C(budget):C(trained) + C(budget):C(language)"
    theirs = formulas.mixedlm(f"score ~ {terms}", frame, groups=frame["run"]).fit()  # another optimiser
    assert found["mixed"]["language=de"]["effect"] == pytest.approx(theirs.fe_params["C(language)[T.de]"], abs=1e-5)
    assert found["deviations"]["run"] == pytest.approx(float(theirs.cov_re.iloc[0, 0]) ** 0.5, rel=1e-3)
    assert 0.01 < found["deviations"]["run"] < 0.03 and 0.008 < found["deviations"]["rest"] < 0.012


def test_factors_that_do_not_vary_or_that_others_determine_are_left_out():
    found = decomposition(made(groups=("latin",)))["anova"]
    assert "group" not in found and "model" not in found and "trained" in found
    columns = made()
    columns["setting"] = ["multi" if group == "mixed" else "single" for group in columns["group"]]
    assert "setting" not in decomposition(columns)["anova"]  # the same column as group
    flat = made() | {"score": [0.5] * len(columns["score"])}
    assert decomposition(flat)["anova"] is None
