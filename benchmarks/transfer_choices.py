"""The choices inside SALT's kernels, each against its alternatives on the same inputs: microseconds a token.

    python benchmarks/transfer_choices.py [--tokens 512] [--repeats 5]

Medians of interleaved runs. Errors are against float64. Whatever runs here runs as it would in the kernel: vmapped in
batches by `each_token`, tables on the device.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from saltjax.transfer.each_token import each_token, sizes
from saltjax.transfer.leastsquares import minimum_norm_weights
from saltjax.transfer.mixture import dense_row, gathered_row
from saltjax.transfer.neighbours import GEMM, nearest, sparsemax_support

HIGHEST = jax.lax.Precision.HIGHEST


# --- the support of a row of similarities -------------------------------------------------------------------------


def by_sort(anchors_sa, vector):
    z = jnp.matmul(anchors_sa, vector, precision=HIGHEST)
    order = jax.lax.optimization_barrier(jnp.argsort(-z))
    return order[:64], sparsemax_support(z[order])


def by_threshold(anchors_sa, vector):
    """Newton's (Michelot's) iteration for the threshold, then the 64 largest as they are: no proof is needed."""
    z = jax.lax.optimization_barrier(jnp.matmul(anchors_sa, vector, precision=HIGHEST))

    def step(tau):
        above = z > tau
        return (jnp.sum(jnp.where(above, z, 0)) - 1) / jnp.sum(above)

    tau = jax.lax.fori_loop(0, 12, lambda _, tau: step(tau), jnp.max(z) - 1)
    chosen = jax.lax.optimization_barrier(jax.lax.top_k(z, 64))[1]
    return chosen, jnp.sum(z > tau).astype(jnp.int32)


# --- the weights of one token -------------------------------------------------------------------------------------


def _rows(table_st, indices, support, row):
    inside = jnp.arange(indices.shape[0]) < support
    return table_st[jnp.where(inside, indices, table_st.shape[0] - 1)], row


def by_gram(table_st, indices, support, row):
    """Cholesky without a refinement."""
    E, e = _rows(table_st, indices, support, row)
    gram = jnp.matmul(E, E.T, precision=HIGHEST) + jnp.diag((jnp.arange(len(indices)) >= support) * 1.0)
    return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(gram), True), jnp.matmul(E, e, precision=HIGHEST))


def by_eigh(table_st, indices, support, row):
    E, e = _rows(table_st, indices, support, row)
    values, vectors = jnp.linalg.eigh(jnp.matmul(E, E.T, precision=HIGHEST))
    inverse = jnp.where(values > 1e-6 * values[-1], 1 / values, 0)
    return vectors @ (inverse * (vectors.T @ jnp.matmul(E, e, precision=HIGHEST)))


def by_qr(table_st, indices, support, row):
    E, e = _rows(table_st, indices, support, row)
    q, r = jnp.linalg.qr(E.T)
    r = r + jnp.diag((jnp.arange(len(indices)) >= support) * 1.0)
    return jax.scipy.linalg.solve_triangular(r, q.T @ e)


def by_lstsq(table_st, indices, support, row):
    E, e = _rows(table_st, indices, support, row)
    return jnp.linalg.lstsq(E.T, e)[0]


def by_wrong_side(table_st, indices, support, row):
    """The ht x ht Gram matrix although k < ht: singular, so with a ridge."""
    E, e = _rows(table_st, indices, support, row)
    gram = jnp.matmul(E.T, E, precision=HIGHEST)
    factor = jnp.linalg.cholesky(gram + 1e-6 * jnp.trace(gram) / len(gram) * jnp.eye(len(gram)))
    return E @ jax.scipy.linalg.cho_solve((factor, True), e)


# --- the row ------------------------------------------------------------------------------------------------------


def by_one_hot(table_sh, indices, weights):
    hot = jax.nn.one_hot(indices, table_sh.shape[0], dtype=table_sh.dtype)
    return weights @ jnp.matmul(hot, table_sh, precision=HIGHEST)


def race(title, candidates, tables, tokens, repeats, exact=None):
    print(f"\n{title}")
    count = len(tokens[0])
    calls, results, seconds = {}, {}, {}
    for name, (kernel, batch) in candidates.items():
        calls[name] = lambda k=kernel, b=batch: jax.block_until_ready(each_token(k, tables, tokens, min(b, count)))
        results[name] = jax.tree.leaves(calls[name]())[0]
        seconds[name] = []
    for _ in range(repeats):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    for name in calls:
        took = statistics.median(seconds[name]) / count * 1e6
        off = "" if exact is None else f"  error {np.abs(results[name] - exact).max() / np.abs(exact).max():.0e}"
        print(f"  {name:44} {took:10.1f}{off}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    n, rng = args.tokens, np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    print(f"{jax.default_backend()}, microseconds a token, {n} tokens")

    rows = sizes(8000, GEMM)[0]
    supports = {"top-k of 64 with a proof (ours)": nearest(64), "threshold search, then top-k": by_threshold}
    supports["full sort"] = by_sort
    race("support of sparsemax, 8,000 anchors of 300", {k: (v, rows) for k, v in supports.items()},
         (draw(8000, 300),), (draw(n, 300),), args.repeats)  # fmt: skip

    table = np.concatenate([np.asarray(draw(8000, 768)), np.zeros((1, 768), np.float32)])
    for k in (24, 64):
        near = rng.random((n, 8000)).argsort()[:, :k].astype(np.int32)
        tokens = (near, np.full(n, k, np.int32), np.asarray(draw(n, 768)))
        exact = np.array([e @ np.linalg.pinv(table[i].astype(np.float64)) for i, _, e in zip(*tokens, strict=True)])
        few = sizes(k * 768)[0]
        solvers = {
            f"Cholesky, one refinement (ours), batch {few}": (minimum_norm_weights, few),
            "the same, one batch of all tokens": (minimum_norm_weights, n),
            "Cholesky, no refinement": (by_gram, few),
            "eigh": (by_eigh, few),
            "QR": (by_qr, few),
        }
        if k == 24:
            solvers |= {"lstsq (SVD)": (by_lstsq, few), "Gram matrix of the larger side": (by_wrong_side, 4)}
        race(f"weights, k {k}, ht 768", solvers, (jnp.asarray(table),), tuple(map(jnp.asarray, tokens)),
             args.repeats, exact)  # fmt: skip

    source = draw(8000, 2048)
    tokens = (jnp.asarray(rng.integers(0, 8000, (n, 24)), jnp.int32), draw(n, 24))
    few = sizes(24 * 2048)[0]
    ways = {
        f"gather (ours), batch {few}": (gathered_row, few),
        "gather, one batch of all tokens": (gathered_row, n),
        "dense weights times the table": (dense_row, 256),
        "one-hot times the table": (by_one_hot, 4),
    }
    race("rows, k 24 of 8,000, hs 2048", ways, (source,), tokens, args.repeats)


if __name__ == "__main__":
    main()
