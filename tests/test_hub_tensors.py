"""Reading checkpoints: what comes back, and what is said about broken ones."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
import zoo
from safetensors import safe_open
from safetensors.numpy import save_file

from saltjax.errors import UserError
from saltjax.hub.tensors import open_checkpoint

torch = pytest.importorskip("torch")


def equal_to_safetensors(directory):
    checkpoint = open_checkpoint(directory)
    seen = 0
    for file in checkpoint.files:
        with safe_open(file, "pt") as stored:
            for name in stored.keys():  # noqa: SIM118 (not a dict)
                tensor = stored.get_tensor(name)
                ours = checkpoint.read(name)
                assert ours.shape == tuple(tensor.shape)
                assert str(ours.dtype) == str(tensor.dtype).removeprefix("torch.")
                assert ours.tobytes() == tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
                assert b"".join(checkpoint.chunks(name)) == ours.tobytes()
                seen += 1
    assert seen == len(checkpoint.entries)
    return checkpoint


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("shard", [None, "20KB"])
def test_reads_what_transformers_wrote(tmp_path, dtype, shard):
    checkpoint = equal_to_safetensors(zoo.llama(tmp_path, dtype=dtype, shard=shard))
    assert (len(checkpoint.files) > 1) == (checkpoint.index is not None) == bool(shard)


def test_views_are_not_copies_and_cannot_be_written(tmp_path):
    view = open_checkpoint(zoo.llama(tmp_path)).read("lm_head.weight")
    assert not view.flags.owndata and not view.flags.writeable


def test_unaligned_and_odd_tensors(tmp_path):
    """A header of odd length, a scalar, an empty tensor, and formats NumPy lacks."""
    header = {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "scalar": {"dtype": "BF16", "shape": [], "data_offsets": [8, 10]},
        "empty": {"dtype": "I64", "shape": [0, 3], "data_offsets": [10, 10]},
        "f8": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [10, 12]},
        "f4": {"dtype": "F4", "shape": [4], "data_offsets": [12, 14]},
    }
    text = json.dumps(header).encode()
    text += b" " * (7 - len(text) % 8)
    values = np.array([1.5, -2], np.float32)
    half = np.array(3, ml_dtypes.bfloat16)
    data = values.tobytes() + half.tobytes() + b"\x38\x40\xab\xcd"
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    checkpoint = open_checkpoint(tmp_path)
    np.testing.assert_array_equal(checkpoint.read("a"), values)
    assert checkpoint.read("scalar").shape == () and float(checkpoint.read("scalar")) == 3
    assert checkpoint.read("empty").shape == (0, 3)
    assert checkpoint.read("f8").astype(np.float32).tolist() == [1.0, 2.0]
    assert b"".join(checkpoint.chunks("f4")) == b"\xab\xcd"
    with pytest.raises(UserError, match="f4 has the number format F4"):
        checkpoint.read("f4")


def to_bin(directory, out, files=1):
    """The same model as .bin files, as older hub models have it, with the tied head stored twice."""
    from transformers import AutoModelForCausalLM

    state = AutoModelForCausalLM.from_pretrained(directory, dtype="auto").state_dict()
    names = list(state)
    out.mkdir()
    shards = [names[i::files] for i in range(files)]
    if files == 1:
        torch.save(state, out / "pytorch_model.bin")
        return out
    weight_map = {}
    for i, shard in enumerate(shards):
        file = f"pytorch_model-{i + 1:05d}-of-{files:05d}.bin"
        torch.save({name: state[name] for name in shard}, out / file)
        weight_map |= dict.fromkeys(shard, file)
    (out / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return out


@pytest.mark.parametrize("files", [1, 3])
def test_reads_torch_files(tmp_path, files):
    source = open_checkpoint(zoo.llama(tmp_path / "m", tied=True))
    checkpoint = open_checkpoint(to_bin(tmp_path / "m", tmp_path / "b", files))
    assert set(checkpoint.entries) == {*source.entries, "lm_head.weight"}
    for name in source.entries:
        assert checkpoint.entries[name].dtype == "BF16"
        assert checkpoint.read(name).tobytes() == source.read(name).tobytes()
        assert b"".join(checkpoint.chunks(name)) == source.read(name).tobytes()


def test_a_pickle_with_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"a": Evil()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin: truncated, corrupt or not plain weights"):
        open_checkpoint(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, -1])
def test_truncated_files_are_named(tmp_path, keep):
    file = tmp_path / "model.safetensors"
    save_file({"a": np.arange(1000), "b": np.ones((3, 4), np.float32)}, file)
    content = file.read_bytes()
    file.write_bytes(content[: keep if isinstance(keep, int) else int(len(content) * keep)])
    with pytest.raises(UserError, match=r"model\.safetensors: truncated"):
        open_checkpoint(tmp_path)


def test_truncated_torch_file_is_named(tmp_path):
    torch.save({"a": torch.zeros(10_000)}, tmp_path / "pytorch_model.bin")
    content = (tmp_path / "pytorch_model.bin").read_bytes()
    (tmp_path / "pytorch_model.bin").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"pytorch_model\.bin: truncated"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        b"not json, not even near it",
        b"[1, 2, 3]",
        b'{"a": {"dtype": "F32", "shape": [2]}}',
        b'{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}',
    ],
)
def test_corrupt_headers_are_named(tmp_path, header):
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(UserError, match=r"model\.safetensors: (corrupt|truncated)"):
        open_checkpoint(tmp_path)


def test_longer_than_promised_is_corrupt(tmp_path):
    save_file({"a": np.arange(10)}, tmp_path / "model.safetensors")
    with open(tmp_path / "model.safetensors", "ab") as file:
        file.write(b"more")
    with pytest.raises(UserError, match=r"corrupt, .* bytes where its header promises"):
        open_checkpoint(tmp_path)


def test_missing_pieces(tmp_path):
    with pytest.raises(UserError, match="no weights"):
        open_checkpoint(tmp_path)
    model = zoo.llama(tmp_path / "m", shard="20KB")
    shard = sorted(model.glob("*.safetensors"))[1]
    shard.rename(tmp_path / "away")
    with pytest.raises(UserError, match=rf"1 of \d+ shards are missing \({shard.name}\)"):
        open_checkpoint(model)
    save_file({"other": np.zeros(2)}, shard)
    with pytest.raises(UserError, match=r"the index names .* that no shard holds"):
        open_checkpoint(model)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", 7])
def test_index_cannot_point_elsewhere(tmp_path, name):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(UserError, match="shards lie beside the index"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": 3}', "{}"])
def test_broken_index(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(UserError, match="not a weight index"):
        open_checkpoint(tmp_path)
