"""Rows for a vocabulary that keeps all of the source's: a rule's, where it has them, and means of pieces."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, Shaped

from saltjax.transfer.initialisation import Initialisation, Rule
from saltjax.transfer.mixture import Mixture
from saltjax.vocab.expand import Appended
from saltjax.vocab.overlap import Overlap
from saltjax.vocab.vocabulary import Vocabulary


def spliced(initialisation: Initialisation, vocabulary: Vocabulary, appended: list[Appended]) -> Initialisation:
    """The rows of an expanded vocabulary: all of the source's as they are, then one for each appended token.

    That is the row which `initialisation` gives the target's token, be it new or copied (fuzzy or by a dictionary); for
    tokens that it knows nothing about, and those that only join others, the mean of the source's tokens that their text
    was cut into (FVT).
    """
    problem = initialisation.problem
    row_of = {token_id: row for row, token_id in enumerate(problem.new.tolist())}
    rows = np.array([row_of.get(-1 if a.target is None else a.target, -1) for a in appended], np.int32)
    cuts = [
        () if row >= 0 else (problem.overlap.shared[a.target],) if a.target in problem.overlap.shared else a.cut
        for row, a in zip(rows, appended, strict=True)
    ]
    known = np.array([row >= 0 or len(cut) > 0 for row, cut in zip(rows, cuts, strict=True)])
    ids = np.arange(problem.source.size, problem.source.size + len(known), dtype=np.int32)
    cut_mixture = _means([cut for cut, is_known in zip(cuts, known, strict=True) if is_known])
    pick = lambda values: np.where(rows[known, None] >= 0, values[rows[known]], 0)  # noqa: E731
    return replace(
        initialisation,
        rule=_joined(initialisation.rule, rows[known], cut_mixture),
        problem=replace(
            problem,
            target=vocabulary,
            overlap=Overlap({i: i for i in range(problem.source.size)}, {}, {}),
            new=ids[known],
            fallback=ids[~known],
            anchors_target=problem.anchors_source,
            plm_new=pick(problem.plm_new),
            aux_new=None if problem.aux_new is None else pick(problem.aux_new),
            hidden=np.full(int(known.sum()), -1, np.int32),
        ),
    )


def _means(cuts: list[tuple[int, ...]]) -> Mixture:
    support = np.array([len(cut) for cut in cuts], np.int32)
    indices = np.zeros((len(cuts), int(support.max(initial=1))), np.int32)
    weights = np.zeros(indices.shape, np.float32)
    for row, cut in enumerate(cuts):
        indices[row, : len(cut)] = cut
        weights[row, : len(cut)] = 1 / max(1, len(cut))
    return Mixture(indices, weights, support)


def _joined(rule: Rule, rows: Int[np.ndarray, " n"], cuts: Mixture) -> Rule:
    """Row `rows[i]` of the rule for the i-th token, or the i-th of `cuts` where that is -1."""
    if type(rule) is not Mixture or not len(rule.support):
        return Joined(rule, rows, cuts)
    width = max(rule.indices.shape[1], cuts.indices.shape[1])
    wide = lambda values: np.pad(values, ((0, 0), (0, width - values.shape[1])))  # noqa: E731
    by_rule = rows >= 0
    choose = lambda ours, theirs: np.where(by_rule.reshape(-1, *[1] * (ours.ndim - 1)), ours[rows], theirs)  # noqa: E731
    return replace(
        rule,
        indices=choose(wide(rule.indices), wide(cuts.indices)),
        weights=choose(wide(rule.weights), wide(cuts.weights)),
        support=choose(rule.support, cuts.support),
        residual=None if rule.residual is None else choose(rule.residual, np.zeros(len(rows), np.float32)),
    )


@dataclass(frozen=True)
class Joined:
    """See `_joined`; for rules that are no mixtures."""

    rule: Rule
    rows: Int[np.ndarray, " n"]
    cuts: Mixture

    def parts(
        self, table: Shaped[np.ndarray, "vs hs"]
    ) -> Iterator[tuple[Int[np.ndarray, " b"], slice, Float[np.ndarray, "b w"]]]:
        place = np.full(int(self.rows.max(initial=-1)) + 1, -1, np.int32)
        place[self.rows[self.rows >= 0]] = np.flatnonzero(self.rows >= 0)
        for members, columns, values in self.rule.parts(table):
            inside = members < len(place)
            wanted = np.flatnonzero(inside)[place[members[inside]] >= 0]
            yield place[members[wanted]], columns, values[wanted]
        others = np.flatnonzero(self.rows < 0).astype(np.int32)
        for members, columns, values in replace(
            self.cuts,
            indices=self.cuts.indices[others],
            weights=self.cuts.weights[others],
            support=self.cuts.support[others],
        ).parts(table):
            yield others[members], columns, values
