"""Continuations of a context as token ids: branches of a trunk, which is what they have in common."""

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from saltjax.data.encode import begin_of_text, plain_backend
from saltjax.errors import UserError
from saltjax.evaluate.task import Question

MOST = 4  # branches of a tree; more choices make several trees


class Tree(NamedTuple):
    """The log-likelihood of branch i is that of its tokens after the trunk, plus that of `trunk[scored:]`.

    Neither the trunk nor a branch is empty. `owners` says for each branch which choice it is.
    """

    trunk: list[int]
    scored: int
    branches: list[list[int]]
    owners: list[int]


class Pairs(NamedTuple):
    """Of each question, for each choice: (ids, how many of them are context)."""

    pairs: list[list[tuple[list[int], int]]]
    unknown: int  # tokens that are unk: text the model does not see
    truncated: int  # choices whose context lost its beginning


def pairs(tokenizer: PreTrainedTokenizerBase, questions: Sequence[Question], longest: int) -> Pairs:
    """Contexts and choices as lm-evaluation-harness makes ids of them.

    The context and the whole text are encoded with the tokenizer's specials, and what the whole has beyond the
    context's number of ids is the choice; white space that ends the context goes to the choice. Without a context the
    choice follows BOS. Of ids that are too many for `longest` positions the last are kept.

    Raises UserError: a choice without tokens; no BOS.
    """
    backend, bos = plain_backend(tokenizer), begin_of_text(tokenizer)
    contexts = [question.context.rstrip() for question in questions]
    wholes = [question.context + question.before + choice for question in questions for choice in question.choices]
    plain = [encoded.ids for encoded in backend.encode_batch_fast(contexts, add_special_tokens=True)]
    bare = iter(
        encoded.ids
        for encoded in backend.encode_batch_fast(
            [whole for whole, question in _each(wholes, questions) if not question.context], add_special_tokens=False
        )
    )
    full = iter(
        encoded.ids
        for encoded in backend.encode_batch_fast(
            [whole for whole, question in _each(wholes, questions) if question.context], add_special_tokens=True
        )
    )
    found, unknown, truncated = [], 0, 0
    for question, context in zip(questions, plain, strict=True):
        one = []
        for choice in question.choices:
            if question.context:
                before, after = context, next(full)[len(context) :]
            else:
                before, after = [bos], next(bare)
                after = after[1:] if after[:1] == [bos] else after
            if not after:
                raise UserError(f"question {question.id}: the choice {choice!r} has no tokens of its own")
            ids = before + after
            unknown += ids.count(tokenizer.unk_token_id) if tokenizer.unk_token_id is not None else 0
            cut = max(0, len(ids) - longest - 1)  # the last id is predicted only and needs no position
            truncated += cut > 0
            one.append((ids[cut:], max(0, len(before) - cut)))
        found.append(one)
    return Pairs(found, unknown, truncated)


def _each(wholes: Sequence[str], questions: Sequence[Question]) -> list[tuple[str, Question]]:
    owners = [question for question in questions for _ in question.choices]
    return list(zip(wholes, owners, strict=True))


def trees(sequences: Sequence[tuple[list[int], int]]) -> list[Tree]:
    """The choices of one question, few to a tree. Those that have no beginning in common (cut ones) are alone."""
    grown: list[Tree] = []
    for start in range(0, len(sequences), MOST):
        owners = list(range(start, min(start + MOST, len(sequences))))
        some = [sequences[owner] for owner in owners]
        trunk = common([ids for ids, _ in some])
        scored = max(1, some[0][1])
        if trunk >= scored and len({before for _, before in some}) == 1:
            grown.append(Tree(some[0][0][:trunk], scored, [ids[trunk:] for ids, _ in some], owners))
        else:
            grown += [
                Tree(ids[:-1], max(1, before), [ids[-1:]], [owner])
                for owner, (ids, before) in zip(owners, some, strict=True)
            ]
    return grown


def common(sequences: Sequence[Sequence[int]]) -> int:
    """How many ids all begin with, the last one of each left out."""
    least = min(map(len, sequences)) - 1
    first = sequences[0]
    for place in range(least):
        if any(ids[place] != first[place] for ids in sequences):
            return place
    return least
