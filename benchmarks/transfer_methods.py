"""All initialisers on one problem of 32,000 source and 32,000 target tokens: seconds a method, in one run.

    python benchmarks/transfer_methods.py [--new 24000] [--anchors 8000] [--methods omp,salt] [--rivals]

Auxiliary vectors of 300 numbers, PLM rows of 768, a source table of 32,000 x 2,048 in bfloat16; words, dictionary and
links between words are made up. A method's time is that of its rule and of the rows of one table, compilation
included (XLA's cache on disk is not used). `align` is left out: its time is that of the text it reads. `--rivals`
compares the rows of `focus`, `omp` and `knn` with those of deepfocus and mergekit, where these are installed, on the
first 512 new tokens.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace

import ml_dtypes
import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transfer import problems, rivals

from saltjax.cli.pages import large_pages
from saltjax.transfer.choose import METHODS, rule
from saltjax.transfer.material import Material
from saltjax.transfer.problem import Problem
from saltjax.transfer.workers import ask_for_cores
from saltjax.vocab.auxiliary import Auxiliary
from saltjax.vocab.overlap import Overlap
from saltjax.vocab.surface import Surface, Token
from saltjax.vocab.vocabulary import Vocabulary

VOCABULARY = 32_000


def words(count: int, seed: int) -> list[str]:
    """Distinct words of two to four syllables, the first ones single characters."""
    rng = np.random.default_rng(seed)
    syllables = [c + v for c in "bcdfghjklmnprstvwz" for v in "aeiou"]
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    made = ("".join(rng.choice(syllables, rng.integers(2, 5))) for _ in iter(int, 1))
    found = dict.fromkeys(letters)
    while len(found) < count:
        found.setdefault(next(made))
    return list(found)


def vocabulary(spellings: list[str]) -> tuple[Vocabulary, SimpleNamespace]:
    """Tokens and a tokenizer for them: letters and the shortest words go on within a word, others start one."""
    starts = [len(w) > 4 for w in spellings]
    tokens = tuple(
        Token(i, "▁" * s + w, Surface(w.encode(), s), "text")
        for i, (w, s) in enumerate(zip(spellings, starts, strict=True))
    )
    tokenizer = Tokenizer(models.Unigram([(token.piece, -1.0 - len(token.piece) / 9) for token in tokens], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return Vocabulary(tokens, len(tokens), {}, "sentencepiece", spellings[-1]), SimpleNamespace(
        backend_tokenizer=tokenizer
    )


def pose(new: int, anchors: int) -> tuple[Problem, Material, problems.Problem, np.ndarray]:
    arrays = problems.clustered(new, anchors)
    rng = np.random.default_rng(1)
    ours, theirs = words(VOCABULARY, 2), words(anchors + new, 3)
    shared = rng.permutation(VOCABULARY)[:anchors].astype(np.int32)
    for i, source in enumerate(shared):
        theirs[i] = ours[source]
    (source, old), (target, fresh) = vocabulary(ours), vocabulary(theirs)
    problem = Problem(
        source=source,
        target=target,
        overlap=Overlap({i: int(s) for i, s in enumerate(shared)}, {}, {}),
        new=np.arange(anchors, anchors + new, dtype=np.int32),
        fallback=np.zeros(0, np.int32),
        anchors_source=shared,
        anchors_target=np.arange(anchors, dtype=np.int32),
        plm_new=arrays.target_new,
        plm_anchors=arrays.target_shared,
        aux_new=arrays.aux_new,
        aux_anchors=arrays.aux_shared,
        hidden=np.full(new, -1, np.int32),
    )
    described = np.concatenate([arrays.aux_shared, arrays.aux_new])
    near = described[rng.integers(0, len(described), VOCABULARY)] + rng.normal(size=(VOCABULARY, described.shape[1]))
    some = lambda count: rng.integers(0, min(20_000, len(theirs)), count).tolist()  # noqa: E731
    pairs = tuple((ours[i], theirs[j]) for i, j in zip(some(5000), some(5000), strict=True))
    links = Counter({(ours[i], theirs[j]): 20 for i, j in zip(some(100_000), some(100_000), strict=True)})
    material = Material(
        source_tokenizer=old,
        target_tokenizer=fresh,
        auxiliary=space(theirs, described),
        source_auxiliary=space(ours, near),
        dictionary=pairs,
        links=links,
    )
    table = rng.normal(size=(VOCABULARY, 2048)).astype(ml_dtypes.bfloat16)
    table[shared] = arrays.table.astype(ml_dtypes.bfloat16)
    return problem, material, arrays, table


def space(spellings: list[str], vectors: np.ndarray) -> Auxiliary:
    rows = dict(zip(spellings, vectors.astype(np.float32), strict=False))
    zero = np.zeros(vectors.shape[1], np.float32)
    return Auxiliary(
        vectors.shape[1], {}, [], lambda asked: np.array([rows.get(w, zero) for w in asked]), lambda n: spellings[:n]
    )


def rows(problem: Problem, material: Material, method: str, table: np.ndarray) -> np.ndarray:
    found = np.empty((len(problem.new), table.shape[1]), table.dtype)
    for members, columns, values in rule(method, problem, material).parts(table):
        found[members, columns] = values.astype(table.dtype)
    return found


def timed(call: Callable[[], np.ndarray]) -> tuple[float, float, np.ndarray]:
    wall, cpu = time.perf_counter(), time.process_time()
    found = call()
    return time.perf_counter() - wall, time.process_time() - cpu, found


def compare(arrays: problems.Problem, few: int = 512) -> None:
    """Our rows of the first tokens against the libraries', largest difference over the largest number of theirs."""
    count = len(arrays.aux_shared)
    ids = np.arange(count, dtype=np.int32)
    problem = Problem(
        *(vocabulary(words(count, 2))[0],) * 2, Overlap({}, {}, {}), ids[:few], ids[:0], ids, ids,
        arrays.target_new[:few], arrays.target_shared, arrays.aux_new[:few], arrays.aux_shared, ids[:few] * 0 - 1,
    )  # fmt: skip
    for method, name, theirs in (
        ("focus", "deepfocus", rivals.deepfocus(arrays, few)),
        ("omp", "mergekit", rivals.mergekit(arrays, few, 64, omp=True)),
        ("knn", "mergekit", rivals.mergekit(arrays, few, 64, omp=False)),
    ):
        rows(problem, Material(), method, arrays.table)  # compiles
        took, _, ours = timed(lambda method=method: rows(problem, Material(), method, arrays.table))
        slow, _, want = timed(theirs)
        away = np.abs(ours - want).max(axis=1) / np.abs(want).max(axis=1)
        print(
            f"{method:8} {name}: {few / took:8,.0f} tokens a second against {few / slow:,.0f}; relative difference "
            f"median {np.median(away):.1e}, largest {away.max():.1e}, {np.mean(away > 1e-3):.1%} of tokens above 1e-3"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--new", type=int, default=24_000)
    parser.add_argument("--anchors", type=int, default=8_000)
    parser.add_argument("--methods", default=",".join(name for name in METHODS if name != "align"))
    parser.add_argument("--rivals", action="store_true")
    asked = parser.parse_args()
    large_pages()  # the libraries that are compared have them too
    ask_for_cores()
    problem, material, arrays, table = pose(asked.new, asked.anchors)
    if asked.rivals:
        return compare(arrays)
    total = 0.0
    for method in asked.methods.split(","):
        wall, cpu, found = timed(lambda method=method: rows(problem, material, method, table))
        total += wall
        finite = np.isfinite(found.astype(np.float32)).all(axis=1).mean()
        print(f"{method:14} {wall:7.1f} s wall {cpu:7.1f} s of CPU   {finite:.0%} of rows finite", flush=True)
    print(f"{'together':14} {total:7.1f} s wall")
    return None


if __name__ == "__main__":
    main()
