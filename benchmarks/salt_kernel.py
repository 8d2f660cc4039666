"""SALT's regression: ours against the loops that people write, on the same inputs, in one process.

    python benchmarks/salt_kernel.py                    # 24,000 new tokens, 8,000 anchors, aux 300, ht 768, hs 2048
    python benchmarks/salt_kernel.py --new 4000 --loop 50

Ours runs over all new tokens, from auxiliary vectors to finished rows. The loops solve the first `--loop` tokens only,
are given the neighbours for nothing, and are scaled up. Medians of `--repeats` interleaved runs; the first, which
compiles, is shown apart. Errors are against float64 `pinv(E't) @ E's`, over the loop's tokens.
"""

import argparse
import statistics
import time

import numpy as np

from saltjax.transfer import salt_mixture
from saltjax.transfer.neighbours import neighbours


def problem(new: int, anchors: int, aux: int, ht: int, hs: int, seed: int = 0) -> list[np.ndarray]:
    """Clustered auxiliary vectors, as words are, and Gaussian tables."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(anchors // 13, aux))
    draw = lambda count: centres[rng.integers(0, len(centres), count)] + rng.normal(size=(count, aux))  # noqa: E731
    shapes = [(new, ht), (anchors, ht), (anchors, hs)]
    return [x.astype(np.float32) for x in (draw(new), draw(anchors), *(rng.normal(size=s) for s in shapes))]


def pinv_loop(dtype):
    """The paper's form: X = pinv(E't) E's for one token after the other."""

    def rows(indices, support, target_new, target_shared, table):
        found = []
        for i, k in enumerate(support):
            near = indices[i, :k]
            X = np.linalg.pinv(target_shared[near].astype(dtype)) @ table[near].astype(dtype)
            found.append(target_new[i].astype(dtype) @ X)
        return np.array(found)

    return rows


def torch_lstsq(indices, support, target_new, target_shared, table):
    """The same with torch.linalg.lstsq and its default CPU driver."""
    import torch

    target_new, target_shared, table = map(torch.from_numpy, (target_new, target_shared, table))
    found = []
    for i, k in enumerate(support):
        near = torch.from_numpy(indices[i, :k].astype(np.int64))
        found.append((target_new[i] @ torch.linalg.lstsq(target_shared[near], table[near]).solution).numpy())
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("new", 24_000), ("anchors", 8_000), ("aux", 300), ("ht", 768), ("hs", 2048), ("loop", 100)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    aux_new, aux_shared, target_new, target_shared, table = problem(args.new, args.anchors, args.aux, args.ht, args.hs)
    few = slice(0, min(args.loop, args.new))
    indices, support = neighbours(aux_new[few], aux_shared)
    print(f"{args.new} new tokens, {args.anchors} anchors, aux {args.aux}, ht {args.ht}, hs {args.hs}; ", end="")
    print("k 5/50/95 %:", *np.percentile(support, [5, 50, 95]).astype(int))

    ours = lambda: salt_mixture(aux_new, aux_shared, target_new, target_shared).rows(table)  # noqa: E731
    loops = {
        "numpy pinv float64, X formed": pinv_loop(np.float64),
        "numpy pinv float32, X formed": pinv_loop(np.float32),
        "torch.linalg.lstsq float32, X formed": torch_lstsq,
    }
    loops = {name: lambda f=f: f(indices, support, target_new[few], target_shared, table) for name, f in loops.items()}
    exact = loops["numpy pinv float64, X formed"]()
    began = time.perf_counter()
    rows = ours()
    print(f"first call, with compilation: {time.perf_counter() - began:.1f} s")
    results = {name: loop() for name, loop in loops.items()} | {"saltjax": rows[few]}
    seconds: dict[str, list[float]] = {name: [] for name in results}
    for _ in range(args.repeats):
        for name, call in (*loops.items(), ("saltjax", ours)):
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    count = {name: args.new if name == "saltjax" else few.stop for name in results}
    speed = {name: count[name] / statistics.median(values) for name, values in seconds.items()}
    print(f"{'':40} tokens/s   saltjax is   error")
    for name in results:
        error = np.linalg.norm(results[name] - exact, axis=1) / np.linalg.norm(exact, axis=1)
        print(f"{name:40} {speed[name]:8,.0f} {speed['saltjax'] / speed[name]:11.1f}x   {error.max():.0e}")


if __name__ == "__main__":
    main()
