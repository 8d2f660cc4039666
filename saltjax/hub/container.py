"""The safetensors container: number formats, and the header that says where each tensor lies."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

from saltjax.errors import UserError

# safetensors' names of number formats. Formats that are not here (F4, F6_*, ...) are copied but cannot be read.
DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
    "C64": np.dtype(np.complex64),
}
FLOATS = ("F64", "F32", "F16", "BF16")  # plain floats, whose values mean themselves without a scale
NAMES = {dtype: name for name, dtype in DTYPES.items()}
LONGEST_HEADER = 100_000_000  # safetensors' own limit


@dataclass(frozen=True)
class TensorEntry:
    """Where a tensor lies: bytes [start, end) of `file` (of the tensor itself where `file` is a .bin)."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.start


def read_header(file: Path) -> tuple[dict[str, str], dict[str, TensorEntry]]:
    """Metadata and entries of one safetensors file, checked against the file's size.

    The container: 8 bytes little-endian length n, n bytes of JSON {name: {dtype, shape, data_offsets}}, the data.
    """
    size = file.stat().st_size
    with open(file, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            raise UserError(f"{file}: truncated or not safetensors ({size:,} bytes, its header would have {length:,})")
        header = stream.read(length)
    entries: dict[str, TensorEntry] = {}
    begin = 8 + length
    try:
        content = json.loads(header)
        metadata = content.pop("__metadata__", None) or {}
        for name, value in content.items():
            shape, (first, last) = tuple(int(n) for n in value["shape"]), value["data_offsets"]
            entries[name] = TensorEntry(name, file, str(value["dtype"]), shape, begin + first, begin + last)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file}: corrupt, its header is not that of safetensors") from None
    promised = max((entry.end for entry in entries.values()), default=begin)
    if promised != size:
        state = "truncated" if size < promised else "corrupt"
        raise UserError(f"{file}: {state}, {size:,} bytes where its header promises {promised:,}; fetch it again")
    for entry in entries.values():
        dtype = DTYPES.get(entry.dtype)
        if (
            entry.nbytes < 0
            or entry.start < begin
            or (dtype and entry.nbytes != math.prod(entry.shape) * dtype.itemsize)
        ):
            raise UserError(f"{file}: corrupt, {entry.name} has {entry.nbytes:,} bytes for the shape {entry.shape}")
    return metadata, entries
