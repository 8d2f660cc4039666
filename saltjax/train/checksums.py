"""Checksums of a checkpoint's files: tensorstore reads a flipped bit of an array as another number, without a word."""

import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from etils import epath

NAME = "checksums.json"
# Written once more when the checkpoint gets its name, and not needed for reading it.
LATER = (NAME, "_CHECKPOINT_METADATA", "commit_success.txt")
THREADS = 4  # zlib lets go of Python's lock; one thread does about 3 GB/s
BLOCK = 1 << 24


def write(checkpoint: epath.Path) -> None:
    """Write size and CRC-32 of every file of a checkpoint into it; of one on cloud storage the sizes alone, because
    the service keeps checksums of its own."""
    files = {name: checkpoint / name for name in _files(checkpoint)}
    with ThreadPoolExecutor(THREADS) as threads:
        found = dict(zip(files, threads.map(_measured, files.values()), strict=True))
    (checkpoint / NAME).write_text(json.dumps(found, indent=1) + "\n")


def damage(checkpoint: epath.PathLike, part: str = "") -> str | None:
    """The first file of a checkpoint (of its folder `part`) that is not as it was written, and what is wrong with it;
    None for a whole one. A checkpoint without checksums is not whole: it has them before it has its name."""
    folder = epath.Path(checkpoint)
    note = folder / NAME
    try:
        expected = {name: tuple(one) for name, one in json.loads(note.read_text()).items()}
    except FileNotFoundError:
        return f"{note} is missing"
    except (ValueError, AttributeError, TypeError):
        return f"{note} is damaged"
    files = {name: folder / name for name in sorted(expected) if name.startswith(part)}
    with ThreadPoolExecutor(THREADS) as threads:
        found = threads.map(_measured_if_there, files.values())
        for (name, path), (size, crc) in zip(files.items(), found, strict=True):
            wanted, sum_wanted = expected[name]
            if size is None:
                return f"{path} is missing"
            if size != wanted:
                return f"{path} has {size:,} bytes instead of {wanted:,}"
            if crc != sum_wanted:
                return f"{path} has other bytes than were written (CRC-32)"
    return None


def _files(folder: epath.Path, prefix: str = "") -> Iterator[str]:
    for one in sorted(folder.iterdir()):
        if one.is_dir():
            yield from _files(one, f"{prefix}{one.name}/")
        elif prefix or one.name not in LATER:
            yield prefix + one.name


def _measured(path: epath.Path) -> tuple[int, int | None]:
    if "://" in str(path):
        return path.stat().length, None
    size = crc = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return size, crc


def _measured_if_there(path: epath.Path) -> tuple[int | None, int | None]:
    try:
        return _measured(path)
    except FileNotFoundError:
        return None, None
