"""Writing checkpoints: untouched bytes stay, replaced tensors arrive, transformers loads the result."""

import json
import resource
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import zoo
from safetensors.numpy import load_file, save_file
from test_hub_tensors import to_bin

from saltjax.errors import UserError
from saltjax.hub.container import DTYPES
from saltjax.hub.shards import copy_checkpoint, write_checkpoint
from saltjax.hub.tensors import open_checkpoint

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("shard", [None, "20KB"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_copy_keeps_every_bit_but_the_replaced(tmp_path, shard, dtype):
    source = open_checkpoint(zoo.llama(tmp_path / "m", dtype=dtype, shard=shard))
    new = np.random.default_rng(0).normal(size=(700, 32)).astype(np.float32)
    (tmp_path / "out").mkdir()
    copy_checkpoint(source, tmp_path / "out", {"model.embed_tokens.weight": new, "lm_head.weight": -new})
    result = open_checkpoint(tmp_path / "out")
    assert [file.name for file in result.files] == [file.name for file in source.files]
    assert set(result.entries) == set(source.entries)
    for name, entry in source.entries.items():
        assert result.entries[name].dtype == entry.dtype
        assert result.entries[name].file.name == entry.file.name
        if name not in ("model.embed_tokens.weight", "lm_head.weight"):
            assert result.read(name).tobytes() == source.read(name).tobytes()
    stored = source.read("lm_head.weight").dtype
    np.testing.assert_array_equal(result.read("model.embed_tokens.weight"), new.astype(stored))
    np.testing.assert_array_equal(result.read("lm_head.weight"), (-new).astype(stored))
    if shard:
        assert result.index["metadata"]["total_size"] == sum(entry.nbytes for entry in result.entries.values())


def test_transformers_loads_the_copy(tmp_path):
    from transformers import AutoModelForCausalLM

    path = zoo.llama(tmp_path / "m", shard="20KB")
    old = AutoModelForCausalLM.from_pretrained(path)
    (tmp_path / "out").mkdir()
    new = np.zeros((600, 32), np.float32)
    copy_checkpoint(open_checkpoint(path), tmp_path / "out", {"model.embed_tokens.weight": new, "lm_head.weight": new})
    config = json.loads((path / "config.json").read_text())
    (tmp_path / "out/config.json").write_text(json.dumps(config | {"vocab_size": 600}))
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values()), info
    assert model.get_input_embeddings().weight.shape == (600, 32) and model.lm_head.weight.abs().max() == 0
    for name, tensor in old.state_dict().items():
        if name not in ("model.embed_tokens.weight", "lm_head.weight"):
            assert torch.equal(model.state_dict()[name], tensor)


def test_any_number_format_is_copied(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        "f8": torch.tensor(rng.integers(0, 255, (5, 3)), dtype=torch.uint8).view(torch.float8_e4m3fn),
        "i8": torch.tensor(rng.integers(-128, 127, (7,)), dtype=torch.int8),
        "bool": torch.tensor([True, False, True]),
        "odd": torch.tensor(rng.normal(size=3), dtype=torch.bfloat16),
        "f64": torch.tensor(rng.normal(size=3)),
        "nan": torch.tensor([float("nan"), -0.0, float("inf")]),
        "scalar": torch.tensor(2.0),
        "table": torch.tensor(rng.normal(size=(4, 2)), dtype=torch.bfloat16),
    }
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    save_torch(tensors, tmp_path / "model.safetensors", metadata={"format": "pt", "made_by": "x"})
    (tmp_path / "out").mkdir()
    source = open_checkpoint(tmp_path)
    copy_checkpoint(source, tmp_path / "out", {"table": np.ones((9, 2), np.float32)})
    loaded = load_torch(tmp_path / "out/model.safetensors")
    result = open_checkpoint(tmp_path / "out")
    for name in tensors:
        if name != "table":
            assert loaded[name].dtype == tensors[name].dtype and loaded[name].shape == tensors[name].shape
            assert b"".join(result.chunks(name)) == b"".join(source.chunks(name))
    assert torch.equal(loaded["table"], torch.ones(9, 2, dtype=torch.bfloat16))
    for entry in result.entries.values():  # every tensor at a multiple of its format's width
        assert entry.start % DTYPES[entry.dtype].itemsize == 0
    assert result.metadata[result.files[0]] == {"format": "pt", "made_by": "x"}


@pytest.mark.parametrize("files", [1, 3])
def test_torch_files_become_safetensors(tmp_path, files):
    from transformers import AutoModelForCausalLM

    path = zoo.llama(tmp_path / "m", tied=True)
    source = open_checkpoint(to_bin(path, tmp_path / "b", files))
    (tmp_path / "out").mkdir()
    copy_checkpoint(source, tmp_path / "out", {})
    (tmp_path / "out/config.json").write_text((path / "config.json").read_text())
    names = sorted(file.name for file in (tmp_path / "out").glob("*.safetensors"))
    assert names == (
        ["model.safetensors"] if files == 1 else [f"model-{i:05d}-of-00003.safetensors" for i in (1, 2, 3)]
    )
    old = AutoModelForCausalLM.from_pretrained(path).state_dict()
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values()), info
    assert all(torch.equal(model.state_dict()[name], old[name]) for name in old)


def test_replacements_that_do_not_fit(tmp_path):
    save_file({"t": np.ones((4, 2), np.float16), "i": np.ones((4, 2), np.int8)}, tmp_path / "model.safetensors")
    source, out = open_checkpoint(tmp_path), tmp_path / "out"
    out.mkdir()
    with pytest.raises(ValueError, match="no tensor 'x'"):
        copy_checkpoint(source, out, {"x": np.ones((4, 2))})
    with pytest.raises(ValueError, match="t is F16"):
        copy_checkpoint(source, out, {"t": np.ones(4)})
    with pytest.raises(ValueError, match="i is I8"):
        copy_checkpoint(source, out, {"i": np.ones((4, 2), np.float32)})
    with pytest.raises(UserError, match="t: a value is too large for F16"):
        copy_checkpoint(source, out, {"t": np.full((4, 2), 1e6, np.float32)})


def test_memory_does_not_grow_with_the_checkpoint(tmp_path):
    size = 120_000_000
    header = {f"t{i}": {"dtype": "U8", "shape": [size], "data_offsets": [i * size, (i + 1) * size]} for i in range(2)}
    text = json.dumps(header).encode()
    with open(tmp_path / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + 2 * size)  # sparse: takes no room on disk
    (tmp_path / "out").mkdir()
    code = f"""
import resource
from pathlib import Path
from saltjax.hub.tensors import open_checkpoint
from saltjax.hub.container import DTYPES
from saltjax.hub.shards import copy_checkpoint
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
copy_checkpoint(open_checkpoint(Path({str(tmp_path)!r})), Path({str(tmp_path / "out")!r}), {{}})
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 60  # MiB
    assert (tmp_path / "out/model.safetensors").stat().st_size > 2 * size


def test_write_one_file_and_shards(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {f"layer.{i}": rng.normal(size=(10, i + 1)).astype(ml_dtypes.bfloat16) for i in range(5)}
    tensors["f32"] = rng.normal(size=(3, 3)).astype(np.float32)
    tensors["transposed"] = rng.normal(size=(6, 5)).astype(np.float32).T
    tensors["none"] = np.zeros((0, 4), np.float32)
    for limit, shards in ((10**6, 1), (100, 4)):
        out = tmp_path / str(limit)
        out.mkdir()
        mixed = sorted(tensors.items(), key=lambda item: item[0][::-1])  # they may come in any order
        write_checkpoint(out, plan(tensors), iter(mixed), max_shard_bytes=limit)
        files = sorted(file.name for file in out.iterdir())
        if shards == 1:
            assert files == ["model.safetensors"]
        else:
            index = json.loads((out / "model.safetensors.index.json").read_text())
            assert set(index["weight_map"]) == set(tensors)
            assert set(index["weight_map"].values()) == set(files) - {"model.safetensors.index.json"}
            assert all(f"-of-{len(files) - 1:05d}." in file for file in files if file.startswith("model-"))
        result = open_checkpoint(out)
        for name, array in tensors.items():
            assert result.read(name).dtype == array.dtype
            np.testing.assert_array_equal(result.read(name), array)
        if shards == 1:
            np.testing.assert_array_equal(load_file(out / "model.safetensors")["f32"], tensors["f32"])


def plan(tensors):
    return {name: (array.dtype, array.shape) for name, array in tensors.items()}


@pytest.mark.parametrize(
    ("come", "message"),
    [
        (["a", "b", "a"], "'a'.*twice"),
        (["a"], "'b' was announced"),
        (["a", "b", "c"], "'c'.*not announced"),
    ],
)
def test_what_was_not_announced_is_not_written(tmp_path, come, message):
    array = np.zeros(3)
    with pytest.raises(ValueError, match=message):
        write_checkpoint(tmp_path, plan({"a": array, "b": array}), [(name, array) for name in come])
    with pytest.raises(ValueError, match="not announced"):
        write_checkpoint(tmp_path, plan({"a": array}), [("a", array.astype(np.float32))])


def test_same_input_same_bytes(tmp_path):
    source = open_checkpoint(zoo.llama(tmp_path / "m", shard="20KB"))
    for out in (tmp_path / "a", tmp_path / "b"):
        out.mkdir()
        copy_checkpoint(source, out, {"lm_head.weight": np.ones((600, 32), np.float32)})
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_disk_full_leaves_nothing(tmp_path):
    """A file-size limit stands in for a full disk: the same OSError out of the same write."""
    from saltjax.hub.directory import whole_directory

    source = open_checkpoint(zoo.llama(tmp_path / "m"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(UserError, match="out: the disk is full"), whole_directory(tmp_path / "out") as partial:
            copy_checkpoint(source, partial, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
