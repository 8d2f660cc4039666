"""Neurons that are often, or strongly, active in a language (Mondal et al. 2025, 2503.17456, "Act Prob")."""

import numpy as np
from jaxtyping import Bool, Float

RATE = 0.00125  # of all neurons, for each language


def highest(scores: Float[np.ndarray, "k l f"], rate: float = RATE) -> Bool[np.ndarray, "k l f"]:
    """For each language the round(rate L f) neurons of the highest score (equal ones by layer and index)."""
    count = round(rate * scores[0].size)
    chosen = np.zeros((len(scores), scores[0].size), bool)
    for own, score in zip(chosen, scores, strict=True):
        own[np.argsort(-score, axis=None, kind="stable")[:count]] = True
    return chosen.reshape(scores.shape)
