"""The devices as a grid: data x fsdp x tensor."""

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from saltjax.errors import UserError
from saltjax.train.config import MeshConfig

AXES = ("data", "fsdp", "tensor")
BATCH = ("data", "fsdp")  # the axes that a batch is split over


def make_mesh(config: MeshConfig = MeshConfig(), devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with Auto axes over `devices` (default: all). An axis of -1 takes what the others leave.

    A mesh smaller than the machine uses the first devices. UserError, with both numbers, when it does not fit.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = [config.data, config.fsdp, config.tensor]
    wanted = " x ".join(f"{name}={size}" for name, size in zip(AXES, sizes, strict=True))
    if sizes.count(-1) > 1:
        raise UserError(f"mesh {wanted}: only one axis can take what is left (-1); give the others a number")
    fixed = math.prod(size for size in sizes if size != -1)
    if fixed > len(devices):
        raise UserError(
            f"mesh {wanted} needs {fixed} devices, but there are {len(devices)}; lower "
            + " or ".join(f"mesh.{name}" for name, size in zip(AXES, sizes, strict=True) if size > 1)
        )
    if -1 in sizes:
        if len(devices) % fixed:
            raise UserError(f"mesh {wanted}: {fixed} does not divide the {len(devices)} devices; choose sizes that do")
        sizes[sizes.index(-1)] = len(devices) // fixed
    used = math.prod(sizes)
    if used < len(devices) and jax.process_count() > 1:
        raise UserError(f"mesh {wanted} uses {used} of {len(devices)} devices; with several processes it must use all")
    if used == len(devices):
        # Neighbours in the mesh are neighbours in the network, as with `jax.make_mesh`, which however would not let two
        # axes of the mesh share one of the network's (except on v5e).
        devices = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True).ravel().tolist()
    return Mesh(np.array(devices[:used]).reshape(sizes), AXES, axis_types=(AxisType.Auto,) * 3)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Sequences over (data, fsdp); each device of a tensor group sees the same ones."""
    return NamedSharding(mesh, P(BATCH))


def check_batch(mesh: Mesh, batch_size: int, accumulate: int = 1) -> None:
    """UserError unless each of the `accumulate` parts of the global batch divides over the data and fsdp axes."""
    ways = mesh.shape["data"] * mesh.shape["fsdp"]
    if batch_size % (ways * accumulate):
        up = -(-batch_size // (ways * accumulate)) * ways * accumulate
        parts = f"accumulate={accumulate} times " if accumulate > 1 else ""
        raise UserError(
            f"batch_size={batch_size} cannot be split over {parts}the {ways} devices of data x fsdp = "
            f"{mesh.shape['data']} x {mesh.shape['fsdp']}; use batch_size={up}, "
            f"or mesh.data=1 mesh.fsdp={math.gcd(batch_size // math.gcd(batch_size, accumulate), ways)}"
        )
