"""Two processes with two devices each load a model together, and write it again."""

import json
import os
import socket
import subprocess
import sys

import zoo_decoders

CODE = """
import sys
import jax
import numpy as np
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from pathlib import Path
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from saltjax.hub.tensors import open_checkpoint
from saltjax.models import load_model, place, write_model

mesh = jax.make_mesh((4,), ("fsdp",), axis_types=(AxisType.Auto,))

def rule(abstract):
    def sharding(leaf):  # the last dimension that divides
        axes = [i for i, size in enumerate(leaf.shape) if size % 4 == 0][-1:]
        return NamedSharding(mesh, PartitionSpec(*("fsdp" if i in axes else None for i in range(leaf.ndim))))
    return jax.tree.map(sharding, abstract)

host = []
aligned = place.aligned
place.aligned = lambda *args: host.append(aligned(*args)) or host[-1]
for layers in (None, 2):  # at once, and in blocks as for an accelerator
    if layers:
        place._layers_at_once = lambda leaf, sharding: layers
    model = load_model(Path(sys.argv[3]), rule, pad_vocab_to=4)
    total = sum(leaf.nbytes for leaf in jax.tree.leaves(model.params))
    assert not model.params["embed"]["table"].is_fully_addressable
    mine = sum(array.nbytes for array in host)
    assert mine < 0.6 * total, (mine, total)  # norms and odd sizes are whole everywhere
    host.clear()
    out = Path(sys.argv[4]) / str(layers)
    if jax.process_index() == 0:
        out.mkdir()
    write_model(out, model.config, model.params, model.dtypes)
"""


def test_two_processes_load_their_parts_and_write_the_whole(tmp_path):
    zoo_decoders.make("qwen3_moe", tmp_path / "m")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    commands = [
        [sys.executable, "-c", CODE, address, str(process), str(tmp_path / "m"), str(tmp_path)] for process in (0, 1)
    ]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command in commands
    ]
    said = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(said)
    written = (tmp_path / "m/model.safetensors").read_bytes()
    for way in ("None", "2"):
        again = (tmp_path / way / "model.safetensors").read_bytes()
        assert tensors(again) == tensors(written)


def tensors(content):
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__")
    data = content[8 + length :]
    return {name: (e["dtype"], e["shape"], data[slice(*e["data_offsets"])]) for name, e in header.items()}
