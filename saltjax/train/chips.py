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


# By JAX's `device_kind`. TPU: cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e,tpu7x}; the memory is what libtpu's compiler
# allows, of v4 and 7x what the chip has. A device of a 7x is one of a chip's two cores.
# GPU: NVIDIA's data sheets, the half of what they say "with sparsity"; NVLink or PCIe counted one way.
CHIPS = {
    "TPU v4": Chip("TPU v4", 32 * GIB, 275e12, 300e9),
    "TPU v5 lite": Chip("TPU v5e", 15.75 * GIB, 197e12, 200e9),
    "TPU v5": Chip("TPU v5p", 95.74 * GIB, 459e12, 600e9),
    "TPU v6 lite": Chip("TPU v6e", 31.25 * GIB, 918e12, 400e9),
    "TPU7x": Chip("TPU 7x, a core", 96 * GIB, 1153.5e12, 300e9),
    "NVIDIA A100-SXM4-40GB": Chip("A100 40 GB", 39 * GIB, 312e12, 300e9),
    "NVIDIA A100-SXM4-80GB": Chip("A100 80 GB", 79 * GIB, 312e12, 300e9),
    "NVIDIA A100 80GB PCIe": Chip("A100 PCIe", 79 * GIB, 312e12, 32e9),
    "NVIDIA H100 80GB HBM3": Chip("H100", 79 * GIB, 989e12, 450e9),
    "NVIDIA H100 PCIe": Chip("H100 PCIe", 79 * GIB, 756e12, 64e9),
    "NVIDIA H100 NVL": Chip("H100 NVL", 93 * GIB, 835e12, 300e9),
    "NVIDIA H200": Chip("H200", 139 * GIB, 989e12, 450e9),
    "NVIDIA B200": Chip("B200", 178 * GIB, 2250e12, 900e9),
    "NVIDIA L4": Chip("L4", 22 * GIB, 121e12, 32e9),
    "NVIDIA L40S": Chip("L40S", 44 * GIB, 362e12, 32e9),
}


def chip(device: jax.Device) -> Chip | None:
    """The chip of a device; None for one that is not in the table, such as a CPU."""
    return CHIPS.get(device.device_kind)
