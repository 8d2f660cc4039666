"""Which rank a value has among many, and which value has a rank: by counting, without sorting or scattering.

The rank of a value is a count. The value of a rank is found from its highest bits on, four at a time, by 15 counts: as
whole numbers the bits of float32 numbers are in the order of the numbers (ours; on a CPU a sort takes several times as
long).
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

COLUMN = 16  # tokens compared at once on a CPU, where sums over long columns of fresh values are slow
BITS = 4
FEW = 8  # percents
LAST = jnp.iinfo(jnp.int32).max


def above(h: Num[Array, "b t f"], thresholds: Num[Array, "e f"]) -> Int[Array, "e f"]:
    """How many of h are greater than each threshold: E operations a value."""

    def column(h: Array) -> Array:
        return (h[:, :, None] > thresholds).sum((0, 1), dtype=jnp.int32)

    return _over_tokens(h, column, jnp.add, jnp.zeros(thresholds.shape, jnp.int32))


def quantiles(h: Float[Array, "b t f"], valid: Bool[Array, "b t"], percents: tuple[float, ...]) -> Float[Array, "q f"]:
    """Of n valid values the one at place (n - 1) p / 100 in order, interpolated between neighbours (NumPy's and
    PyTorch's default), exactly. A few are found by counting, many by sorting."""
    h = h.astype(jnp.float32)
    place = jnp.maximum(valid.sum() - 1, 0) * jnp.array(percents, jnp.float32)[:, None] / 100
    rank = jnp.floor(place).astype(jnp.int32)
    low, high = (_sorted if len(percents) > FEW else _counted)(h, valid, rank)
    return jnp.where(place > rank, low * (1 - (place - rank)) + high * (place - rank), low)


def _sorted(h: Array, valid: Array, rank: Int[Array, "q 1"]) -> tuple[Float[Array, "q f"], Float[Array, "q f"]]:
    """The values at these places and at the next ones; behind the last there is none that means anything."""
    ordered = jnp.sort(jnp.where(valid[..., None], h, jnp.inf).reshape(-1, h.shape[-1]), axis=0)
    return ordered[rank[:, 0]], ordered[jnp.minimum(rank[:, 0] + 1, len(ordered) - 1)]


def _counted(h: Array, valid: Array, rank: Int[Array, "q 1"]) -> tuple[Float[Array, "q f"], Float[Array, "q f"]]:
    keys = jnp.where(valid[..., None], _key(h), LAST)
    low = _at(keys, rank)

    def greater(keys: Array) -> Array:
        return jnp.where(keys[:, :, None] > low, keys[:, :, None], LAST).min((0, 1))

    following = _over_tokens(keys, greater, jnp.minimum, jnp.full(low.shape, LAST))
    return _value(low), _value(jnp.where(valid.size - above(keys, low) > rank + 1, low, following))


def _at(keys: Int[Array, "b t f"], rank: Int[Array, "q 1"]) -> Int[Array, "q f"]:
    """The key at place `rank`, from 0, in the order of each neuron's keys."""
    ways, (q, f) = 1 << BITS, (len(rank), keys.shape[2])
    total = keys.shape[0] * keys.shape[1]

    def step(number: Array, low: Array) -> Array:
        """The key is in [low, low + 2^(32 - BITS number)); now it is known in which of its parts."""
        width = 32 - BITS * (number + 1)
        ends = low[:, None] + (jnp.arange(1, ways, dtype=jnp.int32) << width)[:, None] - 1
        up_to = total - above(keys, ends.reshape(-1, f)).reshape(q, ways - 1, f)
        return low + ((up_to <= rank[:, None]).sum(1, dtype=jnp.int32) << width)

    return jax.lax.fori_loop(0, 32 // BITS, step, jnp.full((q, f), jnp.iinfo(jnp.int32).min))


def _over_tokens(
    h: Array, column: Callable[[Array], Array], join: Callable[[Array, Array], Array], nothing: Array
) -> Array:
    """`column(h)`, on a CPU joined from columns of few tokens."""
    if jax.default_backend() != "cpu":
        return column(h)
    b, t, f = h.shape
    size = math.gcd(t, max(1, COLUMN // b))
    columns = jnp.moveaxis(h.reshape(b, t // size, size, f), 1, 0)
    return jax.lax.scan(lambda before, h: (join(before, column(h)), None), nothing, columns)[0]


def _key(h: Float[Array, "..."]) -> Int[Array, "..."]:
    """A whole number that is in the order of the float32."""
    bits = jax.lax.bitcast_convert_type(h, jnp.int32)
    return jnp.where(bits < 0, bits ^ LAST, bits)


def _value(key: Int[Array, "..."]) -> Float[Array, "..."]:
    return jax.lax.bitcast_convert_type(jnp.where(key < 0, key ^ LAST, key), jnp.float32)
