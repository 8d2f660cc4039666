"""Metrics against what the sets' official scripts say, worked out by hand, and statistics against closed forms."""

import math

import numpy as np
import pytest

from saltjax.evaluate.choices import accuracies, true_share
from saltjax.evaluate.extractive import exact_match, f1, mlqa, score_mlqa, score_squad, squad
from saltjax.evaluate.intervals import interval, mcnemar, paired, sign_flips
from saltjax.evaluate.numbers import last_number, number, readings
from saltjax.evaluate.task import Question


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat's, hat!", "cats hat"),
        ("an apple a day, the doctor", "apple day doctor"),
        ("theory of a-theism", "theory of atheism"),  # articles are whole words, after the punctuation is gone
        ("„Haus“ – der Hund", "„haus“ – der hund"),  # ASCII punctuation alone, English articles alone
        ("  \n ", ""),
    ],
)
def test_squads_normalisation(text, expected):
    assert squad(text) == expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "The Theory’s «end»…", "theorys end"),
        ("de", "„Der Hund“ – des Nachbarn", "hund nachbarn"),
        ("de", "Eine einzige, eines Tages", "einzige tages"),
        ("vi", "Những con mèo của tôi là", "con mèo tôi"),
        ("es", "¿Los niños y una niña?", "niños y niña"),
        ("ar", "الكتاب، والبيت؟", "كتاب و بيت"),
        ("ar", "الطالب", "ط ب"),  # inside of a word too: so the official pattern does
        ("hi", "वह, एक किताब।", "वह एक किताब"),
        ("zh", "他在 2003 年，出生", "他 在 2003 年 出 生"),
    ],
)
def test_mlqas_normalisation_knows_languages(language, text, expected):
    assert mlqa(text, language) == expected


@pytest.mark.parametrize(
    ("prediction", "answer", "value"),
    [
        ("the big cat", "a big dog", 0.5),  # one of two and one of two
        ("cat cat cat", "cat cat dog dog", 2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4)),  # counted as often as in both
        ("Paris!", "the Paris", 1.0),
        ("", "Paris", 0.0),
        ("the", "a", 0.0),  # nothing is left of either: SQuAD v1.1 gives F1 0
    ],
)
def test_f1(prediction, answer, value):
    assert f1(prediction, answer, squad) == pytest.approx(value)


def test_the_best_of_the_accepted_answers_counts():
    question = Question("1", "", gold=("in the old town", "old town of Bern"))
    assert score_squad(question, " Old town of Bern. \n") == {"f1": 1.0, "exact_match": 1.0}
    assert score_squad(question, "Bern")["f1"] == pytest.approx(2 * 1 / (1 + 4))
    assert exact_match("the", "a", squad) == 1.0  # as in the script: both normalise to nothing
    german = Question("1", "", gold=("Die „Alte“ Stadt",))
    assert score_mlqa("de")(german, "alte Stadt") == {"f1": 1.0, "exact_match": 1.0}
    assert score_squad(german, "alte Stadt")["exact_match"] == 0.0


def test_choices_are_ranked_by_likelihood_and_by_likelihood_a_character():
    question = Question("1", "context", 1, ("no", "a long answer", "mid"))
    assert accuracies(question, [-4.0, -6.0, -9.0]) == {"acc": 0.0, "acc_norm": 1.0}
    assert accuracies(question, [-1.0, -6.6, -2.0]) == {"acc": 0.0, "acc_norm": 0.0}  # -0.5, -0.508, -0.667
    assert accuracies(question, [-6.0, -6.0, -9.0])["acc"] == 0.0  # the first of equals
    umlauts = Question("1", "", 0, ("äöüß", "abcde"))  # characters: 4 and 5; bytes would be 8 and 5
    assert accuracies(umlauts, [-4.0, -4.5])["acc_norm"] == 0.0


def test_the_true_answers_share_of_the_probability():
    logs = np.log([0.02, 0.01, 0.05]) - 3000  # so small that exp alone would give 0 / 0
    assert true_share(logs, [True, False, False]) == pytest.approx(0.25)
    assert true_share(logs, [True, False, True]) == pytest.approx(7 / 8)


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("16 - 3 = 13, so 13 * 2 = $26.", "en", [26]),
        ("It costs 1,234.50 dollars.", "en", [1234.5]),
        ("Der Gewinn ist 70.000 US-Dollar", "de", [70.0, 70000]),
        ("Es sind 3,5 kg.", "de", [35, 3.5]),
        ("Es sind 3,5 kg.", "en", [35]),
        ("minus -12", "sw", [-12]),
        ("উত্তর হল ১২", "bn", [12]),
        ("no number", "en", []),
        ("version 1.2.3", "en", []),
        ("1.234.567", "de", [1234567]),
    ],
)
def test_readings_of_the_last_number(text, language, expected):
    assert readings(text, language) == expected


def test_the_last_number_is_compared():
    question = Question("1", "", gold=70000.0)
    assert last_number(question, "80.000 + ... = 70.000", "de") == {"acc": 1.0}
    assert last_number(question, "80.000 + ... = 70.000", "en") == {"acc": 0.0}
    assert last_number(question, "70000, not 5") == last_number(question, "") == {"acc": 0.0}
    assert number(" 2,125") == 2125
    with pytest.raises(ValueError):
        number("x")


def test_an_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(300):
        low, high = interval(rng.binomial(1, 0.3, 120).astype(float), seed=trial)
        hits += low <= 0.3 <= high
    assert 0.91 <= hits / 300 <= 0.98
    low, high = interval(rng.normal(5, 2, 4000))
    assert (high - low) == pytest.approx(2 * 1.96 * 2 / math.sqrt(4000), rel=0.1)
    assert interval(np.array([1.0, 0.0, 1.0])) == interval(np.array([1.0, 0.0, 1.0]))
    assert interval(np.array([1.0])) is None and interval(np.ones(5)) == (1.0, 1.0)


@pytest.mark.parametrize(("lost", "won", "p"), [(0, 0, 1.0), (0, 5, 2 / 32), (1, 9, 22 / 1024), (4, 4, 1.0)])
def test_mcnemar_is_a_fair_coin(lost, won, p):
    assert mcnemar(lost, won) == pytest.approx(p)
    assert mcnemar(won, lost) == pytest.approx(p)


def test_mcnemar_of_many():
    assert mcnemar(4000, 4200) == pytest.approx(math.erfc((199 / math.sqrt(8200)) / math.sqrt(2)), rel=0.01)


def test_sign_flips_are_exact_where_all_can_be_counted():
    differences = np.array([1.0, 2.0, 3.0, 4.0, 5.0, -0.5])
    sums = [abs(sum(d * (1 if code >> i & 1 else -1) for i, d in enumerate(differences))) for code in range(64)]
    assert sign_flips(differences) == pytest.approx(sum(s >= 14.5 for s in sums) / 64, abs=0.01)
    assert sign_flips(np.zeros(4)) == 1.0


def test_pairs_are_compared_question_by_question():
    rng = np.random.default_rng(1)
    hard = rng.normal(0, 10, 500)  # differs from question to question far more than from model to model
    found = paired(hard, hard + rng.normal(0.2, 1, 500))
    assert found.test.startswith("sign") and found.p < 0.01
    assert 0 < found.interval[0] < found.difference < found.interval[1] < 0.4
    same = paired(np.array([1.0, 0, 1, 0]), np.array([1.0, 0, 1, 0]))
    assert same.test.startswith("McNemar") and same.p == 1.0 and same.difference == 0.0
