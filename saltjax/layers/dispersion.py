"""How differently the languages use a layer. Reconstruction (ours): the paper counts the activated neurons of each
language and layer, compares their sets with English, and calls the spread over languages the mean squared deviation;
its criterion for "activated" and its cut-off are not published.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from saltjax.neurons.statistics import Statistics

SHARE = 0.5  # ours: activated means above 0 for more than this share of the tokens


def activated(found: Mapping[str, Statistics], share: float = SHARE) -> dict[str, Bool[np.ndarray, "l f"]]:
    """The neurons that are activated in each language."""
    return {language: one.positive / one.tokens > share for language, one in found.items()}


def dispersion(sets: Mapping[str, Bool[np.ndarray, "l f"]]) -> Float[np.ndarray, " l"]:
    """MSD_i = mean_l (n_il - mean_l n_il)^2, with n_il how many neurons of layer i are activated in language l."""
    counts = np.stack([one.sum(axis=1) for one in sets.values()]).astype(np.float64)
    return counts.var(axis=0)


def overlap(sets: Mapping[str, Bool[np.ndarray, "l f"]], reference: str) -> dict[str, Float[np.ndarray, " l"]]:
    """|A_il n A_ir| / |A_il| with the set of the language r, for every other language l; 0 where A_il is empty."""
    return {
        language: (own & sets[reference]).sum(axis=1) / np.maximum(own.sum(axis=1), 1)
        for language, own in sets.items()
        if language != reference
    }
