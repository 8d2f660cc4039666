"""Language activation probability entropy: neurons that are active in few languages (Tang et al. 2024, 2402.16438)."""

import numpy as np
from jaxtyping import Bool, Float

RATE, FILTER, BAR = 0.01, 0.95, 0.95  # the published code's


def entropy(probability: Float[np.ndarray, "k *n"]) -> Float[np.ndarray, "*n"]:
    """-sum_l q_l ln q_l with q = p / sum_l p over the k languages (0 ln 0 = 0); 0 for a neuron that is never active."""
    total = probability.sum(axis=0)
    q = np.divide(probability, total, out=np.zeros_like(probability), where=total > 0)
    return -(q * np.log(np.where(q > 0, q, 1.0))).sum(axis=0)


def lape(
    probability: Float[np.ndarray, "k l f"], rate: float = RATE, filter_rate: float = FILTER, bar_rate: float = BAR
) -> Bool[np.ndarray, "k l f"]:
    """Each language's neurons. `probability` is the share of the language's tokens with an activation above 0.

    1. Neurons that in no language exceed the `filter_rate` quantile of all probabilities (of all languages, layers and
       neurons together; the quantile is the value at place round(rate n) in order) are left out.
    2. Of the others, the round(rate L f) of least entropy are language-specific (equal ones by layer and index).
    3. Such a neuron belongs to every language in which it exceeds the `bar_rate` quantile; maybe to several, or none.
    """
    entropies = entropy(probability)
    entropies[~(probability > _kth(probability, filter_rate)).any(axis=0)] = np.inf
    count = round(rate * entropies.size)
    least = np.argsort(entropies, axis=None, kind="stable")[:count]
    chosen = np.zeros(entropies.size, bool)
    chosen[least] = True
    chosen = chosen.reshape(entropies.shape) & np.isfinite(entropies)
    return chosen & (probability > _kth(probability, bar_rate))


def _kth(values: Float[np.ndarray, "..."], rate: float) -> float:
    """The value at place round(rate n), counted from 1."""
    place = max(1, round(rate * values.size)) - 1
    return float(np.partition(values, place, axis=None)[place])
