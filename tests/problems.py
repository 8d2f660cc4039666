"""A posed problem from numbers: anchors and new tokens whose source rows follow from their PLM rows, with noise."""

import numpy as np

from saltjax.transfer.material import Material
from saltjax.transfer.problem import Problem
from saltjax.vocab.overlap import Overlap
from saltjax.vocab.surface import Surface, Token
from saltjax.vocab.vocabulary import Vocabulary


def vocabulary(texts):
    """Texts with a space in front begin a word."""
    tokens = tuple(
        Token(i, text, Surface(text.strip().encode(), text.startswith(" ")), "text") for i, text in enumerate(texts)
    )
    return Vocabulary(tokens, len(tokens), {}, "words", f"{len(tokens)}")


def posed(n=30, s=90, a=8, ht=12, hs=20, aux=True, seed=0):
    """(problem, material, source table [s + 25, hs]); rows are a smooth function of the PLM's, plus noise."""
    rng = np.random.default_rng(seed)
    letters = "abcdefghij"
    texts = [(" " if i % 2 else "") + "".join(letters[int(d)] for d in str(i + 7)) for i in range(s + n)]
    ids = rng.permutation(s + 25)[:s].astype(np.int32)
    latent = rng.normal(size=(s + n, 4))
    described = lambda width, noise: (  # noqa: E731
        0.5 + latent @ rng.normal(size=(4, width)) + noise * rng.normal(size=(s + n, width))
    ).astype(np.float32)
    plm, auxiliary = described(ht, 0.3), described(a, 0.8)
    table = (0.3 + rng.normal(size=(s + 25, hs))).astype(np.float32)
    table[ids] += 2 * np.tanh(latent[:s] @ rng.normal(size=(4, hs))).astype(np.float32)
    problem = Problem(
        source=vocabulary([f"x{i}" for i in range(s + 25)]),
        target=vocabulary(texts),
        overlap=Overlap({i: int(ids[i]) for i in range(s)}, {}, {}),
        new=np.arange(s, s + n, dtype=np.int32),
        fallback=np.zeros(0, np.int32),
        anchors_source=ids,
        anchors_target=np.arange(s, dtype=np.int32),
        plm_new=plm[s:],
        plm_anchors=plm[:s],
        aux_new=auxiliary[s:] if aux else None,
        aux_anchors=auxiliary[:s] if aux else None,
        hidden=np.full(n, -1, np.int32),
    )
    return problem, Material(seed=3), table


def rows_of(rule, table, count):
    """What a rule gives for `count` new tokens."""
    rows = np.full((count, table.shape[1]), np.nan, np.float32)
    for members, columns, values in rule.parts(table):
        rows[members, columns] = values
    assert np.isfinite(rows).all()
    return rows
