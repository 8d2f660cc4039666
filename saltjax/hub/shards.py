"""Write safetensors shards: a checkpoint copied with a few tensors replaced, or one made of new tensors.

The container is written by hand because bytes, not values, are copied: every tensor that is not replaced keeps its
bits, whatever its number format.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from saltjax.errors import UserError
from saltjax.hub.container import DTYPES, FLOATS, NAMES, TensorEntry
from saltjax.hub.tensors import CHUNK, Checkpoint

INDEX = "model.safetensors.index.json"
Plan = Mapping[str, tuple[np.dtype, tuple[int, ...]]]


@dataclass(frozen=True)
class _Item:
    """One tensor to be written: its header entry, and its bytes where they are there already."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    chunks: Iterable[memoryview] = ()


def copy_checkpoint(checkpoint: Checkpoint, out_dir: Path, replace: Mapping[str, np.ndarray]) -> None:
    """Write `checkpoint` to `out_dir` with some tensors replaced, shard by shard, in memory that does not grow.

    File names, index and number formats stay (a .bin becomes safetensors): a replacement is rounded to the stored
    format. It may have another number of rows. Raises ValueError for a name or shape that does not fit, UserError
    when a value overflows the stored format.
    """
    for name, array in replace.items():
        if name not in checkpoint.entries:
            raise ValueError(f"replace: the checkpoint has no tensor {name!r}")
        stored = checkpoint.entries[name]
        if array.ndim != len(stored.shape) or (NAMES[array.dtype] != stored.dtype and stored.dtype not in FLOATS):
            raise ValueError(f"replace: {name} is {stored.dtype} {stored.shape}, not {array.dtype} {array.shape}")
    weight_map: dict[str, str] = {}
    total = parameters = 0
    for file in checkpoint.files:
        entries = [entry for entry in checkpoint.entries.values() if entry.file == file]
        items = [_item(checkpoint, entry, replace.get(entry.name)) for entry in entries]
        name = file.name.replace("pytorch_model", "model").removesuffix(".bin").removesuffix(".safetensors")
        _write(Path(out_dir) / f"{name}.safetensors", items, checkpoint.metadata.get(file, {}))
        weight_map |= {item.name: f"{name}.safetensors" for item in items}
        total += sum(item.nbytes for item in items)
        parameters += sum(int(np.prod(item.shape)) for item in items)
    if checkpoint.index is not None:
        metadata = dict(checkpoint.index.get("metadata") or {}) | {"total_size": total}
        if "total_parameters" in metadata:
            metadata["total_parameters"] = parameters
        _write_index(Path(out_dir), metadata, weight_map)


def write_checkpoint(
    out_dir: Path, plan: Plan, tensors: Iterable[tuple[str, np.ndarray]], max_shard_bytes: int = 5_000_000_000
) -> None:
    """Write new tensors as model.safetensors, or as numbered shards with an index when they exceed one shard.

    `plan` announces {name: (dtype, shape)} and says which tensor goes into which shard, so that each can be written as
    it comes, in any order, and one at a time is in memory. A tensor larger than `max_shard_bytes` has a shard of its
    own. Raises ValueError for a tensor that is not announced, comes twice or does not come.
    """
    out_dir = Path(out_dir)
    shards = _grouped(plan, max_shard_bytes)
    places: dict[str, tuple[Path, int]] = {}
    for i, names in enumerate(shards, 1):
        one = len(shards) == 1
        file = out_dir / ("model.safetensors" if one else f"model-{i:05d}-of-{len(shards):05d}.safetensors")
        header, starts = _header(
            [_Item(name, NAMES[plan[name][0]], plan[name][1], _size(*plan[name])) for name in names], {}
        )
        file.write_bytes(header)
        places |= {name: (file, start) for name, start in starts.items()}
    if len(shards) > 1:
        total = sum(_size(*announced) for announced in plan.values())
        _write_index(out_dir, {"total_size": total}, {name: file.name for name, (file, _) in places.items()})
    for name, array in tensors:
        if name not in places or (array.dtype, array.shape) != plan[name]:
            raise ValueError(f"tensors: {name!r} ({array.dtype} {array.shape}) is not announced, or comes twice")
        file, start = places.pop(name)
        with open(file, "r+b") as stream:
            stream.seek(start)
            stream.writelines(_array_chunks(name, array, array.dtype))
    if places:
        raise ValueError(f"tensors: {next(iter(places))!r} was announced and did not come")


def _grouped(plan: Plan, limit: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    size = 0
    for name, announced in plan.items():
        nbytes = _size(*announced)
        if shards[-1] and size + nbytes > limit:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += nbytes
    return shards


def _size(dtype: np.dtype, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * dtype.itemsize


def _item(checkpoint: Checkpoint, entry: TensorEntry, array: np.ndarray | None) -> _Item:
    if array is None:
        return _Item(entry.name, entry.dtype, entry.shape, entry.nbytes, checkpoint.chunks(entry.name))
    dtype = DTYPES[entry.dtype]
    return _Item(
        entry.name, entry.dtype, array.shape, array.size * dtype.itemsize, _array_chunks(entry.name, array, dtype)
    )


def _array_chunks(name: str, array: np.ndarray, dtype: np.dtype) -> Iterator[memoryview]:
    """The bytes of `array` in the format `dtype`, little-endian, converted a block of rows at a time."""
    rows = array.reshape(len(array), -1) if array.ndim > 1 and array.size else array.reshape(-1, 1)
    step = max(1, CHUNK // max(1, rows.shape[1] * max(array.itemsize, dtype.itemsize)))
    for start in range(0, len(rows), step):
        block = np.ascontiguousarray(rows[start : start + step])
        with np.errstate(over="ignore"):
            stored = block.astype(dtype, copy=False)
        if block.dtype != dtype and not np.array_equal(np.isfinite(block), np.isfinite(stored)):
            raise UserError(f"{name}: a value is too large for {NAMES[dtype]}, the format it is stored in")
        yield stored.reshape(-1).view(np.uint8).data


def _header(items: list[_Item], metadata: Mapping[str, str]) -> tuple[bytes, dict[str, int]]:
    """What precedes the tensors in a safetensors file, and where each begins, in the order of the file.

    8 bytes little-endian length, JSON {name: {dtype, shape, data_offsets}}, then the tensors without gaps.
    """
    # Wide formats first, as safetensors itself writes them: then every tensor is aligned for its own format.
    items = sorted(items, key=lambda item: -DTYPES[item.dtype].itemsize if item.dtype in DTYPES else 0)
    content: dict[str, Any] = {"__metadata__": {"format": "pt", **metadata}}
    offsets: dict[str, int] = {}
    end = 0
    for item in items:
        offsets[item.name], end = end, end + item.nbytes
        content[item.name] = {
            "dtype": item.dtype,
            "shape": list(item.shape),
            "data_offsets": [offsets[item.name], end],
        }
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, {name: 8 + len(text) + offset for name, offset in offsets.items()}


def _write(path: Path, items: list[_Item], metadata: Mapping[str, str]) -> None:
    header, starts = _header(items, metadata)
    by_name = {item.name: item for item in items}
    with open(path, "wb") as file:
        file.write(header)
        for name in starts:
            _copy(by_name[name], file)


def _copy(item: _Item, file: BinaryIO) -> None:
    written = sum(file.write(chunk) for chunk in item.chunks)
    if written != item.nbytes:
        raise ValueError(f"{item.name}: {written} bytes written, {item.nbytes} announced")


def _write_index(out_dir: Path, metadata: dict[str, Any], weight_map: dict[str, str]) -> None:
    content = {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}
    (out_dir / INDEX).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
