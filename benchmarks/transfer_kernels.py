"""SALT's transfer, end to end, against loops and tools on the same arrays, and against what the machine can do.

    python benchmarks/transfer_kernels.py                        # 24,000 new tokens, 8,000 anchors, ht 768, hs 2048
    python benchmarks/transfer_kernels.py --flat                 # a collapsed space: k of about 1,000 of 1,300
    python benchmarks/transfer_kernels.py --gemma                # source table 256,000 x 2048 bfloat16 on disk
    python benchmarks/transfer_kernels.py --sweep --picture docs/kernels.png
    python benchmarks/transfer_kernels.py --real SOURCE TARGET AUX

Ours runs over all new tokens, from auxiliary vectors to finished rows. The loops and tools run over the first `--few`
tokens, scaled to tokens a second; FOCUS gets ten times as many. Medians of `--repeats` interleaved rounds after one
that compiles. Errors: largest `||row - exact|| / ||exact||` against float64 `pinv(E't) E's` over the loop's tokens
(FOCUS and mergekit compute something else). Ours writes its rows into a table that is there, as a transfer does; peak
memory is beyond what was resident before.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from transfer import floor, problems, rivals
from transfer.memory import peak_beyond
from transfer.problems import Problem

from saltjax.cli.pages import large_pages
from saltjax.transfer import Mixture, salt_mixture
from saltjax.transfer.leastsquares import solve
from saltjax.transfer.neighbours import neighbours
from saltjax.transfer.workers import ask_for_cores


def devices() -> Mesh | None:
    several = len(jax.devices()) > 1 and jax.default_backend() != "cpu"
    return Mesh(np.array(jax.devices()), ("tokens",)) if several else None


class Run(NamedTuple):
    seconds: list[float]  # of the three stages
    mixture: Mixture
    redone: int  # rows that needed float64


def run(problem: Problem, out: np.ndarray) -> Run:
    """All three stages; the rows go into `out`, part by part, as a transfer puts them into its new table."""
    mesh, clock = devices(), [time.perf_counter()]
    indices, support = neighbours(problem.aux_new, problem.aux_shared, mesh)
    clock.append(time.perf_counter())
    weights, residual, redone = solve(problem.target_new, problem.target_shared, indices, support, mesh)
    clock.append(time.perf_counter())
    mixture = Mixture(indices, weights, support, residual, mesh)
    for members, columns, values in mixture.parts(problem.table):
        out[members, columns] = values
    clock.append(time.perf_counter())
    return Run(list(np.diff(clock)), mixture, redone)


def empty(problem: Problem) -> np.ndarray:
    """A table for the rows whose memory is really there."""
    return np.ones((len(problem.aux_new), problem.table.shape[1]), np.float32)


def compare(problem: Problem, few: int, repeats: int) -> None:
    rows = empty(problem)
    began = time.perf_counter()
    _, mixture, redone = run(problem, rows)
    first = time.perf_counter() - began
    k, n = mixture.support, len(problem.aux_new)
    few = min(few, n)
    print(f"{problem.shape}; k min/median/90 %/max {' '.join(f'{q:.0f}' for q in np.percentile(k, [0, 50, 90, 100]))}")
    print(f"{jax.default_backend()}; first call, with compilation: {first:.1f} s; "
          f"rows redone in float64: {redone}")  # fmt: skip
    calls: dict[str, tuple[int, Callable]] = rivals.installed(problem, mixture.indices, k, few)
    results = {name: peak_beyond(call) for name, (_, call) in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    ours: list[list[float]] = []
    peak = peak_beyond(lambda: run(problem, rows))[1]
    for _ in range(repeats):
        for name, (_, call) in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
        ours.append(run(problem, rows).seconds)
    stage_seconds = np.median(ours, axis=0)
    speed = n / statistics.median(map(sum, ours))
    exact = results["numpy pinv float64, X formed"][0]
    error = lambda x: np.max(np.linalg.norm(x - exact, axis=1) / np.linalg.norm(exact, axis=1))  # noqa: E731
    print(f"\n{'':34} tokens/s  saltjax is  peak MiB  error")
    for name, (count, _) in calls.items():
        theirs = count / statistics.median(seconds[name])
        same = f"{error(results[name][0]):.0e}" if "X formed" in name else "(another method)"
        print(f"{name:34} {theirs:8,.0f} {speed / theirs:10.1f}x {results[name][1]:9,.0f}  {same}")
    print(f"{'saltjax, similarity included':34} {speed:8,.0f} {'':11} {peak:9,.0f}  {error(rows[:few]):.0e}")
    table(problem, k, stage_seconds)


def table(problem: Problem, support: np.ndarray, seconds: np.ndarray) -> None:
    ceilings = floor.measure()
    s, a = problem.aux_shared.shape
    shape = (s, a, problem.target_shared.shape[1], problem.table.shape[1])
    stages = floor.stages(support, *shape, problem.table.dtype.itemsize)
    print(f"\nceilings: {ceilings.flops / 1e9:.0f} GFLOP/s, {ceilings.bytes / 1e9:.1f} GB/s (a copy, one core)")
    print(f"{'':12} {'GFLOP':>8} {'GB':>7} {'floor s':>8} {'took s':>8}  times its floor")
    total = floor.Stage("all", 0.0, 0.0)
    lowest = 0.0
    for stage, took in zip(stages, seconds, strict=True):
        at_best = stage.floor(ceilings)
        lowest += at_best
        total = floor.Stage("all", total.flops + stage.flops, total.bytes + stage.bytes)
        print(f"{stage.name:12} {stage.flops / 1e9:8.1f} {stage.bytes / 1e9:7.2f} {at_best:8.3f} {took:8.3f}"
              f"  {took / at_best:.1f}")  # fmt: skip
    took = float(seconds.sum())
    print(f"{total.name:12} {total.flops / 1e9:8.1f} {total.bytes / 1e9:7.2f} {lowest:8.3f} {took:8.3f}"
          f"  {took / lowest:.1f}")  # fmt: skip


def gemma() -> None:
    with tempfile.TemporaryDirectory() as name:
        problem, ids = problems.gemma(Path(name))

        def transfer() -> np.ndarray:
            mixture = salt_mixture(*problem[:4], mesh=devices()).over(ids)
            out = np.empty((len(problem.aux_new), problem.table.shape[1]), problem.table.dtype)
            for members, columns, values in mixture.parts(problem.table):
                out[members, columns] = values.astype(out.dtype)
            return out

        for label in ("first call, with compilation", "again"):
            began = time.perf_counter()
            _, peak = peak_beyond(transfer)
            print(f"{problem.shape}, table {problem.table.shape} {problem.table.dtype} on disk; {label}: "
                  f"{time.perf_counter() - began:.1f} s, {peak:,.0f} MiB beyond the inputs")  # fmt: skip


SWEEPS = {
    "n": (1_500, 3_000, 6_000, 12_000, 24_000),
    "s": (2_000, 4_000, 8_000, 16_000),
    "ht": (256, 512, 768, 1024, 1536),
    "hs": (512, 1024, 2048, 4096),
    "clusters": (4_000, 1_400, 700, 350, 175),  # fewer clusters: wider supports
}


def sweep(repeats: int, picture: str | None) -> None:
    curves: dict[str, list[tuple[float, float]]] = {}
    for axis, values in SWEEPS.items():
        for value in values:
            problem = problems.clustered(**({"n": 6_000} | {axis: value}))
            rows = empty(problem)
            mixture = run(problem, rows).mixture
            seconds = statistics.median(sum(run(problem, rows).seconds) for _ in range(repeats))
            x = float(np.mean(mixture.support)) if axis == "clusters" else value
            curves.setdefault("K" if axis == "clusters" else axis, []).append((x, seconds))
            print(f"{axis:8} {value:7,}  mean k {np.mean(mixture.support):5.1f}  {seconds:6.2f} s  "
                  f"{len(problem.aux_new) / seconds:8,.0f} tokens/s", flush=True)  # fmt: skip
    n, seconds = np.log(np.array(curves["n"])).T
    print(f"time grows as n to the power of {np.polyfit(n, seconds, 1)[0]:.2f}")
    if picture:
        draw(curves, picture)


def draw(curves: dict[str, list[tuple[float, float]]], picture: str) -> None:
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(1, len(curves), figsize=(3 * len(curves), 3), sharey=True, layout="constrained")
    for axis, (name, curve) in zip(axes, curves.items(), strict=True):
        axis.loglog(*zip(*sorted(curve), strict=True), "o-")
        axis.set(xlabel={"K": "K (mean support)"}.get(name, name))
        axis.set_xticks([x for x, _ in curve], [f"{x:,.0f}" for x, _ in curve], rotation=45)
        axis.xaxis.set_minor_locator(ticker.NullLocator())
    axes[0].set_ylabel("seconds")
    axes[0].yaxis.set_minor_formatter(ticker.FormatStrFormatter("%.1f"))
    axes[0].yaxis.set_major_formatter(ticker.FormatStrFormatter("%.1f"))
    figure.suptitle("SALT end to end; else n 6,000, s 8,000, ht 768, hs 2048, 700 clusters", fontsize=9)
    figure.savefig(picture, dpi=110)


def main() -> None:
    large_pages()  # the libraries that are compared have them too
    ask_for_cores()  # as `saltjax transfer` does
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("new", 24_000), ("anchors", 8_000), ("aux", 300), ("ht", 768), ("hs", 2048), ("few", 200)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--picture", help="where the picture of --sweep goes")
    for name in ("flat", "gemma", "sweep"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--real", nargs=3, metavar=("SOURCE", "TARGET", "AUX"))
    args = parser.parse_args()
    if args.sweep:
        sweep(min(args.repeats, 3), args.picture)
    elif args.gemma:
        gemma()
    elif args.flat:
        compare(problems.flat(), min(args.few, 8), min(args.repeats, 3))
    elif args.real:
        compare(problems.real(*args.real), args.few, args.repeats)
    else:
        shape = (args.new, args.anchors, args.aux, args.ht, args.hs)
        compare(problems.clustered(*shape), args.few, args.repeats)


if __name__ == "__main__":
    main()
