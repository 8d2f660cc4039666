"""What has to be solved: which target tokens are copied, which are new, and where both are described."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from saltjax.errors import UserError
from saltjax.vocab.auxiliary import Auxiliary
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

    Anchors are the shared tokens that are described in every space; `anchors_source` and `anchors_target` [s] are
    their ids. Neighbours are sought in `space_new` [n, a] against `space_anchors` [s, a]; `plm_new` [n, ht] and
    `plm_anchors` [s, ht] are rows of the PLM's embedding.
    """

    source: Vocabulary
    target: Vocabulary
    overlap: Overlap
    new: Int[np.ndarray, " n"]
    fallback: Int[np.ndarray, " m"]
    anchors_source: Int[np.ndarray, " s"]
    anchors_target: Int[np.ndarray, " s"]
    space_new: Float[np.ndarray, "n a"]
    space_anchors: Float[np.ndarray, "s a"]
    plm_new: Float[np.ndarray, "n ht"]
    plm_anchors: Float[np.ndarray, "s ht"]
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


def pose(
    source: Vocabulary,
    target: Vocabulary,
    plm_table: Float[np.ndarray, "vt ht"],
    space: Space,
    auxiliary: Auxiliary | None = None,
    fuzzy: bool = False,
) -> Problem:
    """Sort the target vocabulary into copied, special, new and fallback tokens, and look up their descriptions.

    `space` says where neighbours are sought: "aux", the auxiliary vectors of the tokens' surface texts (the paper);
    "plm", the PLM's own rows less the mean over the anchors (our option); "none" for methods without neighbours.

    Raises UserError when no token is shared, or none of the shared ones can be described.
    """
    overlap = match(source, target, fuzzy)
    if not overlap.shared:
        raise UserError(
            "the two vocabularies share no token, so nothing can be learnt from one for the other: "
            "check that TARGET is the PLM whose tokenizer you want, or try --fuzzy"
        )
    tokens = {token.id: token for token in target.tokens}
    wanted = [t.id for t in target.tokens if t.kind in ("text", "bytes") and t.id not in overlap.shared]
    shared = list(overlap.shared)
    if space == "aux":
        if auxiliary is None:
            raise UserError(
                "neighbours are sought in an auxiliary space: give --aux or --aux-text, or --neighbours plm"
            )
        vectors = auxiliary.vectors([word(tokens[i]) for i in (*shared, *wanted)])
    else:
        vectors = np.asarray(plm_table[[*shared, *wanted]], np.float32)
    # A zero vector is no description. A zero PLM row has no direction: as an anchor it says nothing, as a new token
    # its least-squares row would be zero as well.
    plm_rows = np.asarray(plm_table[[*shared, *wanted]], np.float32)
    described = vectors.any(axis=1) & plm_rows.any(axis=1) if space != "none" else np.ones(len(vectors), bool)
    is_shared = np.arange(len(vectors)) < len(shared)
    anchors, new = is_shared & described, ~is_shared & described
    ids = np.array([*shared, *wanted], np.int32)
    if space == "plm":
        vectors = vectors - vectors[anchors].mean(axis=0)
    solved = {*shared, *overlap.special, *ids[new].tolist()}
    problem = Problem(
        source=source,
        target=target,
        overlap=overlap,
        new=ids[new],
        fallback=np.array([i for i in range(target.size) if i not in solved], np.int32),
        anchors_source=np.array([overlap.shared[i] for i in ids[anchors].tolist()], np.int32),
        anchors_target=ids[anchors],
        space_new=vectors[new],
        space_anchors=vectors[anchors],
        plm_new=plm_rows[new],
        plm_anchors=plm_rows[anchors],
    )
    if not len(problem.anchors_source):
        raise UserError(
            f"none of the {len(shared)} shared tokens has an auxiliary vector: "
            "the auxiliary file must be of the target's language and not empty of its words"
        )
    if len(problem.anchors_source) < FEW_ANCHORS:
        problem.warnings.append(
            f"only {len(problem.anchors_source)} anchors: below {FEW_ANCHORS} the new rows are guesses; "
            "--fuzzy finds more, or take another PLM"
        )
    return problem
