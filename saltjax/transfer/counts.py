"""From how often source tokens stand for a new token to a mixture."""

from collections.abc import Mapping, Sequence

import numpy as np

from saltjax.transfer.mixture import Mixture

MOST = 256  # source tokens of a new token: the rest, of a thousandth of the weight or so, is left out (ours)


def counted_mixture(counts: Sequence[Mapping[int, float]]) -> Mixture:
    """`row_i = sum_e p_i(e) E[e]` with p_i the counts of new token i divided by their sum; largest first.

    `counts`: for each new token, source id -> a count > 0. No count at all gives support 0 (see `choose.settled`). Only
    the `MOST` largest are kept, ties by id.
    """
    kept = [sorted(each.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST] for each in counts]
    support = np.array([len(each) for each in kept], np.int32)
    indices = np.zeros((len(kept), int(support.max(initial=1))), np.int32)
    weights = np.zeros(indices.shape, np.float32)
    for row, each in enumerate(kept):
        if each:
            ids, values = zip(*each, strict=True)
            indices[row, : len(ids)] = ids
            weights[row, : len(ids)] = np.array(values) / sum(values)
    return Mixture(indices, weights, support)
