"""Which corpus of a mixture gives which window."""

from collections.abc import Sequence

import grain
from grain.python import DatasetSelectionMap

PARTS = 1 << 40  # proportions are rounded to such parts


class Interleaving(DatasetSelectionMap):
    """Window k of the mixture is window `key` of corpus `i`: every stretch of it holds the corpora in these proportions
    as evenly as whole windows allow.

    Exact in integers, so that it is the same on every machine and at any k. Grain's own `MapDataset.mix` has the idea,
    but rounds to hundredths of the smallest proportion.
    """

    def __init__(self, proportions: Sequence[float]):
        total = sum(proportions)
        self.parts = [max(1, round(PARTS * share / total)) for share in proportions]

    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, k: int) -> tuple[int, int]:
        before, after = self.counts(k), self.counts(k + 1)
        corpus = next(i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)
        return corpus, before[corpus]

    def counts(self, windows: int) -> list[int]:
        """How many of the first `windows` come from each corpus: rounded shares that sum to `windows`."""
        left, total, found = windows, sum(self.parts), []
        for part in self.parts:
            others = left * (total - part) // total
            found.append(left - others)
            left, total = others, total - part
        return found


def mixed(datasets: Sequence[grain.MapDataset], interleaving: Interleaving) -> grain.MapDataset:
    """Endless datasets as one, endless, too."""
    if len(datasets) == 1:
        return datasets[0]
    return grain.MapDataset.select_from_datasets(datasets, interleaving)
