"""Write safetensors shards: a checkpoint copied with a few tensors replaced, or one made of new tensors.

The container is written by hand because bytes, not values, are copied: every tensor that is not replaced keeps its
bits, whatever its number format.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from saltjax.errors import UserError
from saltjax.hub.container import DTYPES, FLOATS, NAMES, TensorEntry
from saltjax.hub.tensors import CHUNK, Checkpoint

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class _Item:
    """One tensor to be written: its header entry and where its bytes come from."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    chunks: Iterable[memoryview]


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
    out_dir: Path, tensors: Iterable[tuple[str, np.ndarray]], max_shard_bytes: int = 2_000_000_000
) -> None:
    """Write new tensors as model.safetensors, or as numbered shards with an index when they exceed one shard.

    One shard is in memory at a time; a tensor larger than `max_shard_bytes` has a shard of its own. Raises ValueError
    for a name that comes twice.
    """
    out_dir = Path(out_dir)
    shards: list[list[str]] = []
    total = 0
    for shard in _grouped(tensors, max_shard_bytes):
        items = [
            _Item(name, NAMES[array.dtype], array.shape, array.nbytes, _array_chunks(name, array, array.dtype))
            for name, array in shard
        ]
        _write(out_dir / f"shard-{len(shards):05d}", items, {})
        shards.append([item.name for item in items])
        total += sum(item.nbytes for item in items)
    written = Counter(name for names in shards for name in names)
    if written.total() != len(written):
        raise ValueError(f"tensors: {written.most_common(1)[0][0]!r} comes twice")
    if len(shards) == 1:
        (out_dir / "shard-00000").rename(out_dir / "model.safetensors")
        return
    weight_map: dict[str, str] = {}
    for i, names in enumerate(shards):  # the number of shards, part of their names, is known only now
        file = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        (out_dir / f"shard-{i:05d}").rename(out_dir / file)
        weight_map |= dict.fromkeys(names, file)
    _write_index(out_dir, {"total_size": total}, weight_map)


def _grouped(tensors: Iterable[tuple[str, np.ndarray]], limit: int) -> Iterator[list[tuple[str, np.ndarray]]]:
    shard: list[tuple[str, np.ndarray]] = []
    size = 0
    for name, array in tensors:
        if shard and size + array.nbytes > limit:
            yield shard
            shard, size = [], 0
        shard.append((name, array))
        size += array.nbytes
    yield shard


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


def _write(path: Path, items: list[_Item], metadata: Mapping[str, str]) -> None:
    """One safetensors file: 8 bytes little-endian header length, the header, the tensors' bytes without gaps."""
    # Wide formats first, as safetensors itself writes them: then every tensor is aligned for its own format.
    items = sorted(items, key=lambda item: -DTYPES[item.dtype].itemsize if item.dtype in DTYPES else 0)
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **metadata}}
    offset = 0
    for item in items:
        end = offset + item.nbytes
        header[item.name] = {"dtype": item.dtype, "shape": list(item.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for item in items:
            _copy(item, file)


def _copy(item: _Item, file: BinaryIO) -> None:
    written = sum(file.write(chunk) for chunk in item.chunks)
    if written != item.nbytes:
        raise ValueError(f"{item.name}: {written} bytes written, {item.nbytes} announced")


def _write_index(out_dir: Path, metadata: dict[str, Any], weight_map: dict[str, str]) -> None:
    content = {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}
    (out_dir / INDEX).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
