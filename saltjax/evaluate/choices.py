"""Scores of ranked choices from their log-likelihoods, as lm-evaluation-harness defines them."""

from collections.abc import Sequence

import numpy as np

from saltjax.evaluate.task import Question, Scores


def accuracies(question: Question, loglikelihoods: Sequence[float]) -> Scores:
    """acc: the choice of the largest log-likelihood is right. acc_norm: of the largest one a character of the choice.

    The first of equals counts. (lm-evaluation-harness 0.4.13, `api/task.py`: characters, not bytes or tokens, of the
    choice without what separates it from the context.)
    """
    values = np.asarray(loglikelihoods, np.float64)
    lengths = np.array([len(choice) for choice in question.choices], np.float64)
    return {
        "acc": float(values.argmax() == question.gold),
        "acc_norm": float((values / np.maximum(lengths, 1)).argmax() == question.gold),
    }


def true_share(loglikelihoods: Sequence[float] | np.ndarray, true: Sequence[bool]) -> float:
    """TruthfulQA's mc2 (Lin et al. 2022, section 3.2): the true answers' share of the probability of all answers."""
    values = np.asarray(loglikelihoods, np.float64)
    p = np.exp(values - values.max())  # a common factor, which the share does not see
    return float(p[np.asarray(true, bool)].sum() / p.sum())
