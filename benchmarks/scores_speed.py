"""What it costs to score methods on a vocabulary of 32,000: seconds of processor and of the clock, a method at a time.

    python benchmarks/scores_speed.py [METHOD ...]

8,000 anchors, 24,000 new tokens, auxiliary vectors of 300, a PLM of 768 and an LLM of 2,048 dimensions, all random.
"""

import resource
import sys
import time

from saltjax.transfer.workers import ask_for_cores

ask_for_cores()

import numpy as np  # noqa: E402
from transfer.problems import clustered  # noqa: E402

from saltjax.transfer.auto import initialisers  # noqa: E402
from saltjax.transfer.material import Material  # noqa: E402
from saltjax.transfer.problem import Problem  # noqa: E402
from saltjax.transfer.scoring import score  # noqa: E402
from saltjax.vocab.auxiliary import Auxiliary  # noqa: E402
from saltjax.vocab.overlap import Overlap  # noqa: E402
from saltjax.vocab.surface import Surface, Token  # noqa: E402
from saltjax.vocab.vocabulary import Vocabulary  # noqa: E402

METHODS = "mean random gaussian ridge procrustes salt focus clp clp+ knn omp ofa kernel-ridge".split()
ROWS = 32_000


def main() -> None:
    arrays = clustered()
    n, s = len(arrays.target_new), len(arrays.target_shared)
    vectors = np.concatenate([arrays.aux_shared, arrays.aux_new])
    tokens = tuple(Token(i, f"w{i}", Surface(f"w{i}".encode(), True), "text") for i in range(n + s))
    words = Vocabulary(tokens, n + s, {}, "words", "")
    ids = np.random.default_rng(0).permutation(ROWS)[:s].astype(np.int32)
    table = np.random.default_rng(1).normal(size=(ROWS, arrays.table.shape[1])).astype(np.float32)
    table[ids] = arrays.table
    problem = Problem(
        source=words,
        target=words,
        overlap=Overlap({}, {}, {}),
        new=np.arange(s, s + n, dtype=np.int32),
        fallback=np.zeros(0, np.int32),
        anchors_source=ids,
        anchors_target=np.arange(s, dtype=np.int32),
        plm_new=arrays.target_new,
        plm_anchors=arrays.target_shared,
        aux_new=arrays.aux_new,
        aux_anchors=arrays.aux_shared,
        hidden=np.full(n, -1, np.int32),
    )
    space = Auxiliary(vectors.shape[1], {}, [], lambda asked: vectors[[int(w[1:]) for w in asked]], lambda count: [])
    print("| method | processor [s] | clock [s] | peak memory [GB] |\n|---|---|---|---|")
    began = last = (time.process_time(), time.perf_counter())

    def done(name: str) -> None:
        nonlocal last
        now = (time.process_time(), time.perf_counter())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"| {name} | {now[0] - last[0]:.1f} | {now[1] - last[1]:.1f} | {peak:.1f} |", flush=True)
        last = now

    found = score(problem, initialisers(sys.argv[1:] or METHODS, Material(auxiliary=space)), table, done=done)
    print(f"| all | {time.process_time() - began[0]:.1f} | {time.perf_counter() - began[1]:.1f} | |")
    for name, why in found.skipped.items():
        print(f"not scored: {name}: {why}")


if __name__ == "__main__":
    main()
