"""A checkpoint's tensors, read lazily: safetensors (one file or shards) or PyTorch .bin files.

Nothing is loaded but headers. `read` gives a memory-mapped view, `chunks` a tensor's bytes piece by piece, so that
a checkpoint of any size costs little memory.
"""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from saltjax.errors import UserError
from saltjax.hub.container import DTYPES, TensorEntry, read_header

CHUNK = 16 << 20  # bytes in memory while copying


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a model directory. `files` in order; `index` the content of the index file, None without one."""

    directory: Path
    files: tuple[Path, ...]
    entries: dict[str, TensorEntry]
    index: dict[str, Any] | None = None
    metadata: dict[Path, dict[str, str]] = field(default_factory=dict)  # each safetensors file's own __metadata__
    torch_tensors: dict[str, Any] = field(default_factory=dict)  # .bin only: memory-mapped torch tensors

    def read(self, name: str) -> np.ndarray:
        """The tensor as a read-only view of the file (bf16 and f8 as ml_dtypes). UserError for formats NumPy lacks."""
        entry = self.entries[name]
        if entry.dtype not in DTYPES:
            raise UserError(f"{entry.file}: {name} has the number format {entry.dtype}, which cannot be read")
        if name in self.torch_tensors:
            return _torch_bytes(self.torch_tensors[name]).view(DTYPES[entry.dtype]).reshape(entry.shape)
        if entry.nbytes == 0:
            return np.empty(entry.shape, DTYPES[entry.dtype])
        raw = np.memmap(entry.file, np.uint8, mode="r", offset=entry.start, shape=(entry.nbytes,))
        return np.asarray(raw).view(DTYPES[entry.dtype]).reshape(entry.shape)

    def chunks(self, name: str) -> Iterator[memoryview]:
        """The tensor's bytes as stored, at most CHUNK at a time."""
        entry = self.entries[name]
        if name in self.torch_tensors:
            raw = _torch_bytes(self.torch_tensors[name])
            for start in range(0, raw.size, CHUNK):
                yield raw[start : start + CHUNK].data
            return
        # Read, not mapped: pages of a map would count as this process's memory until they are dropped.
        with open(entry.file, "rb", buffering=0) as file:
            file.seek(entry.start)
            left = entry.nbytes
            while left:
                piece = file.read(min(CHUNK, left))
                if not piece:
                    raise UserError(f"{entry.file}: became shorter while it was read")
                left -= len(piece)
                yield memoryview(piece)

    def same(self, first: str, second: str) -> bool:
        """Whether two tensors have the same format, shape and bytes."""
        a, b = self.entries[first], self.entries[second]
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            return False
        pairs = zip(self.chunks(first), self.chunks(second), strict=True)
        return first == second or all(
            np.array_equal(np.frombuffer(x, np.uint8), np.frombuffer(y, np.uint8)) for x, y in pairs
        )


def open_checkpoint(directory: Path) -> Checkpoint:
    """The checkpoint of a model directory; safetensors before .bin, one file before shards, as transformers chooses.

    Raises UserError: no weights, a shard of the index missing, a truncated or corrupt file (named), a .bin without
    torch.
    """
    directory = Path(directory)
    for name, reader in (("model.safetensors", _open_safetensors), ("pytorch_model.bin", _open_torch)):
        if (directory / name).is_file():
            return reader(directory, (directory / name,), None)
        if (directory / f"{name}.index.json").is_file():
            files, index = _read_index(directory / f"{name}.index.json")
            return reader(directory, files, index)
    raise UserError(f"{directory}: no weights (neither model.safetensors, its shards, nor pytorch_model.bin)")


def _read_index(path: Path) -> tuple[tuple[Path, ...], dict[str, Any]]:
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        names = sorted(set(index["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: not a weight index (JSON with a weight_map of file names)") from None
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise UserError(f"{path}: names the file {name!r}; shards lie beside the index")
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing or not names:
        raise UserError(f"{path}: {len(missing)} of {len(names)} shards are missing ({', '.join(missing[:3])})")
    return tuple(path.parent / name for name in names), index


def _open_safetensors(directory: Path, files: tuple[Path, ...], index: dict[str, Any] | None) -> Checkpoint:
    entries: dict[str, TensorEntry] = {}
    metadata: dict[Path, dict[str, str]] = {}
    for file in files:
        metadata[file], found = read_header(file)
        _no_duplicates(file, entries, found)
        entries |= found
    _all_there(directory, entries, index)
    return Checkpoint(directory, files, entries, index, metadata)


def _open_torch(directory: Path, files: tuple[Path, ...], index: dict[str, Any] | None) -> Checkpoint:
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{files[0]}: a PyTorch file; `pip install torch` to read it, or use a copy in safetensors"
        ) from None
    names = {getattr(torch, str(dtype), None): name for name, dtype in DTYPES.items()}
    entries: dict[str, TensorEntry] = {}
    tensors: dict[str, Any] = {}
    for file in files:
        try:
            # weights_only: no code in the file is run. Files from before PyTorch 1.6 are no zip and cannot be mapped.
            state = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
            state = {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}
        except Exception as error:
            reason = " ".join(str(error).split())[:120]
            raise UserError(f"{file}: truncated, corrupt or not plain weights ({reason})") from None
        found = {}
        for name, tensor in state.items():
            dtype = names.get(tensor.dtype, str(tensor.dtype))
            found[name] = TensorEntry(name, file, dtype, tuple(tensor.shape), 0, tensor.nbytes)
        _no_duplicates(file, entries, found)
        entries |= found
        tensors |= state
    _all_there(directory, entries, index)
    return Checkpoint(directory, files, entries, index, torch_tensors=tensors)


def _torch_bytes(tensor: Any) -> np.ndarray:
    """A torch tensor's bytes, without a copy where it is contiguous."""
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy()


def _no_duplicates(file: Path, entries: dict[str, TensorEntry], found: dict[str, TensorEntry]) -> None:
    twice = sorted(set(entries) & set(found))
    if twice:
        raise UserError(f"{file}: {twice[0]} is also stored in {entries[twice[0]].file.name}")


def _all_there(directory: Path, entries: dict[str, TensorEntry], index: dict[str, Any] | None) -> None:
    missing = sorted(set(index["weight_map"]) - set(entries)) if index else []
    if missing:
        raise UserError(f"{directory}: the index names {missing[0]} and {len(missing) - 1} more that no shard holds")
    if not entries:
        raise UserError(f"{directory}: the weights hold no tensor")
