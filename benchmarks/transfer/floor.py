"""What the machine could do: flops and bytes of each stage counted, ceilings measured in the same run."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Ceilings(NamedTuple):
    flops: float  # a second, of a float32 matrix product
    bytes: float  # a second, read and written, of a copy far larger than the caches


class Stage(NamedTuple):
    """Arithmetic and compulsory memory traffic; the floor is the longer of the two at the ceilings."""

    name: str
    flops: float
    bytes: float

    def floor(self, ceilings: Ceilings) -> float:
        return max(self.flops / ceilings.flops, self.bytes / ceilings.bytes)


def best(call, repeats: int = 7) -> float:
    call()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def measure() -> Ceilings:
    """The best of several tries each: a ceiling, not an average."""
    square = jnp.ones((2048, 2048), jnp.float32)
    product = jax.jit(lambda x: jnp.matmul(x, x, precision=jax.lax.Precision.HIGHEST))
    seconds = best(lambda: product(square).block_until_ready())
    source, target = np.ones(1 << 26, np.float32), np.ones(1 << 26, np.float32)
    return Ceilings(2 * 2048**3 / seconds, 2 * source.nbytes / best(lambda: np.copyto(target, source), 3))


def stages(support: np.ndarray, s: int, a: int, ht: int, hs: int, itemsize: int = 4) -> list[Stage]:
    """n tokens with supports k.

    - neighbours: a product [n, a] x [a, s]. Its n s results are only looked at: no traffic is charged.
    - solve: the k rows of E are read once; half of a Gram matrix (k k ht multiplications and additions), its Cholesky
      factor (k^3 / 3), `E e`, one refinement (`e - w E` and E times that), and four triangular solutions (4 k k).
      Where k > ht, ht stands for k in the Gram matrix.
    - rows: k source rows are read, `w E's` is formed, and a row is written.
    """
    n, k = len(support), support.astype(np.float64)
    small, large = np.minimum(k, ht), np.maximum(k, ht)
    solve = small**2 * large + small**3 / 3 + 6 * k * ht + 4 * small**2
    return [
        Stage("neighbours", 2.0 * n * s * a, 4.0 * a * (n + s)),
        Stage("solve", float(solve.sum()), float(4 * ht * (k + 1).sum())),
        Stage("rows", float(2 * hs * k.sum()), float(itemsize * hs * k.sum() + 4 * hs * n)),
    ]
