"""What has to be solved: which target tokens are copied, which are new, and where both are described."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from saltjax.errors import UserError
from saltjax.vocab.auxiliary import Auxiliary
from saltjax.vocab.dictionary import Pairs
from saltjax.vocab.overlap import Overlap, match
from saltjax.vocab.vocabulary import Vocabulary, word

FEW_ANCHORS = 100  # a regression over fewer anchors than this is a guess (METHODS: "< 100 anchors is bad")

Space = Literal["aux", "plm", "none"]


@dataclass(frozen=True)
class Problem:
    """A vocabulary replacement, before any source table is looked at.

    Every target id is in exactly one of `overlap.shared` (a source token has its surface), `overlap.special` (a source
    token has its role), `new` (to be given a row by a method) and `fallback` (nothing describes it: byte pieces that
    the source has not, unused tokens, special tokens without a counterpart, holes in the numbering and, when
    neighbours are sought in the auxiliary space, tokens that it cannot compose).

    Anchors are the shared tokens that are described in every space; they are all that a rule may know of the overlap.

    Properties of the s anchors: `anchors_source` and `anchors_target` [s], their ids; `plm_anchors` [s, ht], their rows
    of the PLM's embedding; `aux_anchors` [s, a], their auxiliary vectors, or None without an auxiliary space.

    Properties of the n new tokens, in one order: `new` [n], their target ids; `plm_new` [n, ht]; `aux_new` [n, a] or
    None; `hidden` [n], the source token whose row is the answer where an anchor plays a new token (it was held out to
    score a rule) and -1 everywhere else. A rule must act as though the source had no row for a token's `hidden`.

    All else belongs to the vocabularies and stays as it is when anchors are held out.
    """

    source: Vocabulary
    target: Vocabulary
    overlap: Overlap
    new: Int[np.ndarray, " n"]
    fallback: Int[np.ndarray, " m"]
    anchors_source: Int[np.ndarray, " s"]
    anchors_target: Int[np.ndarray, " s"]
    plm_new: Float[np.ndarray, "n ht"]
    plm_anchors: Float[np.ndarray, "s ht"]
    aux_new: Float[np.ndarray, "n a"] | None
    aux_anchors: Float[np.ndarray, "s a"] | None
    hidden: Int[np.ndarray, " n"]
    warnings: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        return {
            "total": self.target.size,
            "copied": len(self.overlap.shared),
            "fitted": len(self.new),
            "special": len(self.overlap.special),
            "fallback": len(self.fallback),
        }


def rows_in_use(problem: Problem) -> Int[np.ndarray, " u"]:
    """The source rows that a rule may look at: those of the source's tokens, but none that is hidden."""
    used = np.array([token.id for token in problem.source.tokens], np.int32)
    return np.setdiff1d(used, problem.hidden)


def described(problem: Problem, space: str) -> tuple[Float[np.ndarray, "n a"], Float[np.ndarray, "s a"]]:
    """(new, anchors) in the space "aux", the auxiliary vectors, or "plm", the PLM's rows less the anchors' mean.

    Raises UserError when the space is unknown or there are no auxiliary vectors.
    """
    match space:
        case "aux":
            if problem.aux_new is None or problem.aux_anchors is None:
                raise UserError(
                    "neighbours are sought in an auxiliary space: give --aux or --aux-text, or --neighbours plm"
                )
            return problem.aux_new, problem.aux_anchors
        case "plm":
            mean = problem.plm_anchors.mean(axis=0)
            return problem.plm_new - mean, problem.plm_anchors - mean
        case _:
            raise UserError(f"neighbours={space} is not known; there are aux and plm")


def pose(
    source: Vocabulary,
    target: Vocabulary,
    plm_table: Float[np.ndarray, "vt ht"],
    space: Space,
    auxiliary: Auxiliary | None = None,
    fuzzy: bool = False,
    pairs: Pairs = (),
) -> Problem:
    """Sort the target vocabulary into copied, special, new and fallback tokens, and look up their descriptions.

    `space` says what must describe a token so that it can be an anchor or be fitted: "aux", an auxiliary vector of its
    surface text and a row of the PLM; "plm", the row alone; "none", nothing. Auxiliary vectors are looked up whenever
    there is an `auxiliary`; a token that has none there has zeros. `pairs` of a dictionary make anchors beside those
    that are spelled alike.

    Raises UserError when no token is shared, or none of the shared ones can be described.
    """
    overlap = match(source, target, fuzzy, pairs)
    if not overlap.shared:
        raise UserError(
            "the two vocabularies share no token, so nothing can be learnt from one for the other: "
            "check that TARGET is the PLM whose tokenizer you want, or try --fuzzy"
        )
    tokens = {token.id: token for token in target.tokens}
    wanted = [t.id for t in target.tokens if t.kind in ("text", "bytes") and t.id not in overlap.shared]
    shared = list(overlap.shared)
    if space == "aux" and auxiliary is None:
        raise UserError("neighbours are sought in an auxiliary space: give --aux or --aux-text, or --neighbours plm")
    aux = auxiliary.vectors([word(tokens[i]) for i in (*shared, *wanted)]) if auxiliary else None
    # A zero vector is no description. A zero PLM row has no direction: as an anchor it says nothing, as a new token
    # its least-squares row would be zero as well.
    plm_rows = np.asarray(plm_table[[*shared, *wanted]], np.float32)
    known = np.asarray(plm_rows.any(axis=1) if space != "none" else np.ones(len(plm_rows), bool))
    if space == "aux" and aux is not None:
        known = known & aux.any(axis=1)
    is_shared = np.arange(len(known)) < len(shared)
    anchors, new = is_shared & known, ~is_shared & known
    ids = np.array([*shared, *wanted], np.int32)
    solved = {*shared, *overlap.special, *ids[new].tolist()}
    problem = Problem(
        source=source,
        target=target,
        overlap=overlap,
        new=ids[new],
        fallback=np.array([i for i in range(target.size) if i not in solved], np.int32),
        anchors_source=np.array([overlap.shared[i] for i in ids[anchors].tolist()], np.int32),
        anchors_target=ids[anchors],
        plm_new=plm_rows[new],
        plm_anchors=plm_rows[anchors],
        aux_new=None if aux is None else aux[new],
        aux_anchors=None if aux is None else aux[anchors],
        hidden=np.full(int(new.sum()), -1, np.int32),
    )
    if not len(problem.anchors_source):
        raise UserError(
            f"none of the {len(shared)} shared tokens has an auxiliary vector: "
            "the auxiliary file must be of the target's language and not empty of its words"
        )
    if len(problem.anchors_source) < FEW_ANCHORS:
        problem.warnings.append(
            f"only {len(problem.anchors_source)} anchors: below {FEW_ANCHORS} the new rows are guesses; "
            "--dictionary or --fuzzy finds more, or take another PLM"
        )
    return problem


def with_nothing_copied(problem: Problem) -> Problem:
    """The same with the anchors among the new tokens, for methods that estimate them too (`choose.Method.copies`).

    They stay anchors: a rule may know which tokens are shared."""
    overlap = problem.overlap
    anchors = set(problem.anchors_target.tolist())
    join = lambda new, more: None if new is None or more is None else np.concatenate([new, more])  # noqa: E731
    return replace(
        problem,
        overlap=replace(overlap, shared={u: e for u, e in overlap.shared.items() if u not in anchors}),
        new=np.concatenate([problem.new, problem.anchors_target]),
        plm_new=np.concatenate([problem.plm_new, problem.plm_anchors]),
        aux_new=join(problem.aux_new, problem.aux_anchors),
        hidden=np.concatenate([problem.hidden, np.full_like(problem.anchors_target, -1)]),
    )
