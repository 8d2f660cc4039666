"""What a step will cost on a mesh, read from the program that the compiler makes of it. Nothing is run or loaded.

The train step is compiled ahead of time for the devices, which may be those of a TPU slice that is not there: libtpu's
compiler needs no TPU (`jax.experimental.topologies`).
"""

import math
import re
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.errors import JaxRuntimeError
from jax.sharding import Mesh

from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import abstract_model
from saltjax.models.model import Model
from saltjax.train.chips import GIB, chip
from saltjax.train.collectives import Collective, collectives, summed
from saltjax.train.config import AdaptConfig
from saltjax.train.flops import step_flops
from saltjax.train.forward import decoder_forward
from saltjax.train.lora import with_adapters
from saltjax.train.mesh import check_batch, make_mesh
from saltjax.train.sharding import leaves, replicated_notes
from saltjax.train.step import State, abstract_state, make_step
from saltjax.train.trainable import Mask, count, trainable

MFU = 0.4  # assumed for the estimate of time: what well-tuned trainers publish for 1 to 8 billion parameters
LARGE = 0.01  # of the parameters' bytes: a collective outside of the loops that is larger is worth a look


def plan(decoder: DecoderConfig, config: AdaptConfig, devices: Sequence[Any]) -> dict[str, Any]:
    """The record that `saltjax adapt --plan` prints, of the phase with the most that learns.

    UserError: the mesh, the batch or what is trainable does not fit the devices or the model.
    """
    mesh = make_mesh(config.mesh, devices)
    check_batch(mesh, config.batch_size, config.accumulate)
    graphdef, params = abstract_model(decoder)
    base = with_adapters(params, config)
    masks = {spec: trainable(base, spec) for spec in config.specs}
    spec, mask = max(masks.items(), key=lambda one: count(base, one[1]))
    state = abstract_state(base, mask, config, mesh)
    forward = decoder_forward(
        Model(decoder, graphdef, params, {}),
        jnp.dtype(config.compute_dtype),
        config.remat,
        unroll=config.unroll,
        lora_scale=config.lora.scale,
    )
    shape = (config.batch_size, config.seq_len)
    batch = {key: jax.ShapeDtypeStruct(shape, jnp.int32) for key in ("tokens", "positions", "segments")}
    chips = mesh.size
    kind = chip(mesh.devices.flat[0])
    limit = kind.memory if kind else None

    began = time.perf_counter()
    program, needed = None, 0
    if limit is None or _share(state) <= limit:  # else there is nothing that the compiler could do about it
        program, needed = _compiled(make_step(forward, mask, config, mesh, state).lower(state, batch))
    memory = _memory(program, needed, state, limit)
    found = summed(collectives(program.as_text())) if program else []
    flops = step_flops(decoder, base, mask, *shape)
    record = {
        "chip": kind.name if kind else mesh.devices.flat[0].device_kind,
        "chips": chips,
        "mesh": dict(mesh.shape),
        "trainable": spec,
        "parameters": sum(x.size for x in jax.tree.leaves(params)),
        "learning": count(base, mask),
        "tokens_per_step": math.prod(shape),
        "bytes_per_chip": memory,
        "fits": program is not None and memory["total"] <= limit if limit else None,
        "flops": {"step": flops, "chip": flops / chips},
        "collectives": [one._asdict() | {"sent": one.sent} for one in found],
        "suspicious": [*_replicated(state, mask, mesh), *replicated_notes(base, mesh), *_odd(found, state)],
        "estimate": None,
        "compile_seconds": round(time.perf_counter() - began, 1),
    }
    if kind:
        seconds = flops / chips / (kind.flops * MFU)
        sent = sum(one.sent for one in found)
        record["estimate"] = {
            "mfu": MFU,
            "peak_flops": kind.flops,
            "step_seconds": seconds,
            "tokens_per_second": math.prod(shape) / seconds,
            "sent_per_chip": sent,
            "link_seconds": sent / kind.link,
        }
    record["suggestions"] = [] if record["fits"] is not False else suggestions(config, mesh, memory)
    return record


def _compiled(step: jax.stages.Lowered) -> tuple[Any, int]:
    """The program, or None and the bytes on a chip that the compiler found too many."""
    try:
        return step.compile(), 0
    except JaxRuntimeError as error:
        needed = re.search(r"RESOURCE_EXHAUSTED.*?([\d.]+)([KMGT])\)? exceeds", str(error), re.DOTALL)
        if needed is None:
            raise
        return None, int(float(needed[1]) * 2 ** {"K": 10, "M": 20, "G": 30, "T": 40}[needed[2]])


def _memory(program: Any, needed: int, state: State, limit: float | None) -> dict[str, Any]:
    """Bytes on one chip: of the state, and of all that lives at the worst moment, the state among it (donated, so that
    what comes out lies where it came in). The compiler refuses what is more than `limit`."""
    parts = {"parameters": _share(state.params), "optimizer": _share(state.opt_state)}
    total = program.memory_analysis().peak_memory_in_bytes if program else max(needed, sum(parts.values()))
    return {**parts, "temporaries": total - sum(parts.values()), "total": total, "limit": limit}


def _share(tree: Any) -> int:
    """Bytes of one device's part of abstract arrays."""
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _replicated(state: State, mask: Mask, mesh: Mesh) -> list[str]:
    """Moments that are kept whole although they are large, and moments that take more room than their parameter."""
    found = []
    params = dict(leaves(state.params))
    for path, moments in state.opt_state.items():
        for x in jax.tree.leaves(moments):
            whole, part = x.size * x.dtype.itemsize, _share(x)
            if part == whole and mesh.shape["fsdp"] * mesh.shape["tensor"] > 1 and x.size > 2**20:
                found.append(f"{path}: its moments {list(x.shape)} are whole on every chip ({part / GIB:.2f} GiB)")
            elif x.shape == params[path].shape and x.sharding != params[path].sharding:
                found.append(f"{path}: its moments lie elsewhere than it does")
    return found


def _odd(found: list[Collective], state: State) -> list[str]:
    """Gathers and sums outside of the layers that are larger than the vocabulary's tables, or that look like all."""
    whole = sum(x.size * 2 for x in jax.tree.leaves(state.params))
    tables = [x.size * 4 for path, x in leaves(state.params) if path in ("embed.table", "head.table")]
    return [
        f"{one.kind} of {one.shape} ({one.bytes / GIB:.2f} GiB) outside of the layers, {one.times} times a step"
        for one in found
        if one.where == "outside" and one.bytes > max(*tables, LARGE * whole)
    ] + [
        f"{one.kind} of {one.shape} in every chunk of the loss, {one.times} times a step"
        for one in found
        if one.where == "loss" and one.bytes > LARGE * whole
    ]


def suggestions(config: AdaptConfig, mesh: Mesh, memory: dict[str, Any]) -> list[str]:
    """What would make a step smaller that does not fit, with what it brings on a chip where that is known."""
    state = memory["parameters"] + memory["optimizer"]
    rows = config.batch_size // (mesh.shape["data"] * mesh.shape["fsdp"] * config.accumulate)
    found = []
    if mesh.shape["data"] > 1:
        cut = state - state / mesh.shape["data"]
        found.append(f"mesh.data=1 mesh.fsdp={mesh.shape['data'] * mesh.shape['fsdp']}: {_gib(cut)} less state")
    if config.remat != "block":
        found.append("remat=block: only the blocks' inputs are kept, for about a third more flops")
    if rows > 1:
        found.append(
            f"accumulate={config.accumulate * rows}: one sequence a chip at a time instead of {rows}, "
            f"for gradients of {_gib(memory['parameters'])} kept in between"
        )
    elif mesh.shape["tensor"] < 8:
        found.append(f"mesh.tensor={mesh.shape['tensor'] * 2}: each sequence and the vocabulary over twice the chips")
    if config.moments_dtype == "float32" and config.optimizer in ("adamw", "lion", "muon"):
        found.append(f"moments_dtype=bfloat16: {_gib(memory['optimizer'] / 2)} less")
    if config.optimizer == "adamw":
        found.append(f"optimizer=lion: {_gib(memory['optimizer'] / 2)} less; optimizer=adafactor: nearly all of it")
    if state > memory["limit"] / 2:
        found.append(f"more chips: parameters and moments alone take {_gib(state)} of {_gib(memory['limit'])}")
        found.append("trainable=lora or trainable=embeddings: moments only of what learns")
    return found


def _gib(size: int | float) -> str:
    return f"{size / GIB:.1f} GiB"
