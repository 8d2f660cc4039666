"""What a chip has: memory, peak speed, links. From the vendors' data sheets; what a program may use, from libtpu."""

from typing import NamedTuple

import jax

GIB = 2**30


class Chip(NamedTuple):
    """`memory`: bytes that a program may use. `flops`: dense bfloat16 products and sums a second, the peak that MFU
    is a share of. `link`: bytes a second that a chip can send to the others of its slice or box, one direction."""

    name: str
    memory: float
    flops: float
    link: float


# By JAX's `device_kind`. TPU: cloud.google.com/tpu/docs/{v5e,v5p,v6e}; the memory is what libtpu's compiler allows.
# GPU: NVIDIA's data sheets of the SXM cards, without sparsity; NVLink counted one way.
CHIPS = {
    "TPU v5 lite": Chip("TPU v5e", 15.75 * GIB, 197e12, 200e9),
    "TPU v5": Chip("TPU v5p", 95.74 * GIB, 459e12, 600e9),
    "TPU v6 lite": Chip("TPU v6e", 31.25 * GIB, 918e12, 400e9),
    "NVIDIA A100-SXM4-80GB": Chip("A100 80 GB", 79 * GIB, 312e12, 300e9),
    "NVIDIA H100 80GB HBM3": Chip("H100", 79 * GIB, 989e12, 450e9),
    "NVIDIA H200": Chip("H200", 139 * GIB, 989e12, 450e9),
}


def chip(device: jax.Device) -> Chip | None:
    """The chip of a device; None for one that is not in the table, such as a CPU."""
    return CHIPS.get(device.device_kind)
