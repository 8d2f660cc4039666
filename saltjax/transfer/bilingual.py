"""Source and target tokens in one space of word vectors."""

import numpy as np
from jaxtyping import Float, Int

from saltjax.errors import UserError
from saltjax.transfer.material import Material, needed
from saltjax.transfer.problem import Problem, rows_in_use
from saltjax.vocab.auxiliary import Auxiliary
from saltjax.vocab.dictionary import Pairs
from saltjax.vocab.pieces import token_vectors
from saltjax.vocab.vocabulary import Vocabulary, word

COMMON = 5000  # words of both languages that anchor the alignment without a dictionary (RAMEN's code)


def in_one_space(
    problem: Problem, material: Material, words: int, aligned: bool
) -> tuple[Float[np.ndarray, "n a"], Float[np.ndarray, "s a"], Int[np.ndarray, " s"]]:
    """(new tokens, source tokens, ids of the latter) in the space of the target language's vectors.

    A token's vector is the auxiliary's of its text (fastText's composition from n-grams), or, with `words` > 0, the
    mean of the vectors of that many frequent words, over those that the token is a piece of (`pieces.token_vectors`).
    Those of the source's language are mapped by `alignment`, unless the two files are `aligned` already. Source tokens
    without a vector, or whose row is hidden, are left out.

    Raises UserError: vectors of either language are missing, or differ in size and are said to be aligned.
    """
    target = needed(material.auxiliary, "vectors of the target's language: --aux FILE or --aux-text FILE...")
    source = needed(material.source_auxiliary, "vectors of the source's language: --source-aux FILE")
    new = _vectors(target, material.target_tokenizer, problem.target, words)[problem.new]
    old = _vectors(source, material.source_tokenizer, problem.source, words)
    ids = rows_in_use(problem)
    ids = ids[old[ids].any(axis=1)]
    if not aligned:
        old = old @ alignment(source, target, material.dictionary)
    elif source.dim != target.dim:
        raise UserError(f"aligned vectors have one size, but --source-aux has {source.dim} and --aux {target.dim}")
    return new, old[ids], ids


def alignment(source: Auxiliary, target: Auxiliary, pairs: Pairs | None) -> Float[np.ndarray, "as at"]:
    """`W = U V'` with `U S V' = svd(X'Y)`: of all matrices with orthonormal rows or columns the one that maps the
    source words' vectors X nearest to those of their translations Y (orthogonal Procrustes, Schönemann 1966).

    Pairs count as they are, in lower case and with a capital, in all nine ways in which both words have a vector
    (WECHSEL's code). Without a dictionary they are the words that are among the 5,000 most frequent of both languages
    (RAMEN's code, which goes on to optimise RCSLS; we do not).

    Raises UserError when fewer pairs have two vectors than there are dimensions: W is not determined then.
    """
    if pairs is None:
        there = set(target.frequent(COMMON))
        pairs = tuple((text, text) for text in source.frequent(COMMON) if text in there)
    forms = (str, str.lower, str.title)
    spelled = dict.fromkeys((f(left), g(right)) for left, right in pairs for f in forms for g in forms)
    x, y = source.vectors([left for left, _ in spelled]), target.vectors([right for _, right in spelled])
    both = x.any(axis=1) & y.any(axis=1)
    least = min(source.dim, target.dim)
    if both.sum() < least:
        raise UserError(
            f"{both.sum()} pairs of words have vectors in both files, but {least} dimensions need as many "
            "to be aligned: give a larger --dictionary, with the source's language in its first column"
        )
    u, _, vt = np.linalg.svd(x[both].astype(np.float64).T @ y[both].astype(np.float64), full_matrices=False)
    return (u @ vt).astype(np.float32)


def _vectors(space: Auxiliary, tokenizer: object, vocabulary: Vocabulary, words: int) -> Float[np.ndarray, "v a"]:
    if words:
        return token_vectors(space, tokenizer, vocabulary, words)
    texts: list[str | None] = [None] * vocabulary.size
    for token in vocabulary.tokens:
        texts[token.id] = word(token)
    return space.vectors(texts)
