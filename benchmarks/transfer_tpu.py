"""SALT's kernels compiled ahead of time for real TPU slices: what a chip holds, and that chips need not talk.

    pip install 'jax[tpu]'      # its compiler runs on any machine; no TPU is needed, and none is used
    python benchmarks/transfer_tpu.py [--slices v5e:2x4 v5p:2x2x1 v6e:2x4]

The shapes are those of a Gemma-sized transfer: 25,000 anchors, aux 300, ht 768, source rows of 2048 in bfloat16.
"""

import argparse
import os
import re

os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding

from saltjax.transfer.complement import complement_weights
from saltjax.transfer.each_token import MEMORY, each_token, specs
from saltjax.transfer.leastsquares import minimum_norm_weights
from saltjax.transfer.mixture import gathered_row
from saltjax.transfer.neighbours import nearest

ANCHORS, AUX, HT, HS, BLOCK = 25_000, 300, 768, 2048, 8192
COLLECTIVES = re.compile(r"\b(all-gather|all-reduce|all-to-all|reduce-scatter|collective-permute)\b")
F32, BF16, I32 = jnp.float32, jnp.bfloat16, jnp.int32


def programs() -> dict[str, tuple]:
    """name -> (kernel, tables, a token's arrays, elements of its largest temporary, how the mesh is used)."""

    def solve(k: int) -> tuple:
        return minimum_norm_weights, [((ANCHORS + 1, HT), BF16)], [((k,), I32), ((), I32), ((HT,), BF16)], k * HT

    def rows(k: int) -> tuple:
        return gathered_row, [((ANCHORS, HS), BF16)], [((k,), I32), ((k,), F32)], k * HS

    flat = [((1300, HT), F32), ((1300, HT), F32), ((1300, 1300), F32)]
    left_out = [((384,), I32), ((), I32), ((1300,), I32), ((HT,), F32)]
    return {
        "neighbours, width 64": (nearest(64), [((ANCHORS, AUX), F32)], [((AUX,), F32)], ANCHORS, "tokens"),
        "solve, k <= 24": (*solve(24), "tokens"),
        "solve, k <= 64": (*solve(64), "tokens"),
        "solve, k <= 1024 > ht": (*solve(1024), "tokens"),
        "solve by the complement": (complement_weights, flat, left_out, 384 * 384, "tokens"),
        "rows, k <= 24": (*rows(24), "tokens"),
        "rows, table split by columns": (*rows(24), "columns"),
    }


def compiled(name: str, mesh: Mesh):
    """The program for a block of tokens on every chip."""
    kernel, tables, token, elements, split = programs()[name]
    of_tables, of_tokens, _ = specs(mesh, split)
    count = BLOCK * (mesh.size if split == "tokens" else 1)
    shaped = lambda shape, dtype, spec: jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))  # noqa: E731
    whole = tuple(shaped(shape, dtype, of_tables) for shape, dtype in tables)
    tokens = tuple(shaped((count, *shape), dtype, of_tokens) for shape, dtype in token)
    batch = 1 << (max(1, MEMORY // elements).bit_length() - 1)
    return each_token.lower(kernel, whole, tokens, batch=min(batch, BLOCK), mesh=mesh, split=split).compile()


def mesh_of(slice_name: str) -> Mesh:
    """The chips of a slice such as v5e:2x4, in one axis."""
    topology = topologies.get_topology_desc(platform="tpu", topology_name=slice_name)
    return Mesh(np.array(topology.devices).reshape(-1), ("tokens",))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", nargs="+", default=["v5e:2x4", "v5p:2x2x1", "v6e:2x4"])
    args = parser.parse_args()
    print(f"{'':10} {'':30} chips  MiB/chip: tables+tokens  temporaries  results   collectives")
    for slice_name in args.slices:
        mesh = mesh_of(slice_name)
        for name in programs():
            program = compiled(name, mesh)
            memory = program.memory_analysis()
            found = sorted(set(COLLECTIVES.findall(program.as_text())))
            sizes = [memory.argument_size_in_bytes, memory.temp_size_in_bytes, memory.output_size_in_bytes]
            print(f"{slice_name:10} {name:30} {mesh.size:5} {sizes[0] / 2**20:23.0f} {sizes[1] / 2**20:12.0f}"
                  f" {sizes[2] / 2**20:8.0f}   {', '.join(found) or 'none'}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
