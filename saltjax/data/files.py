"""Stored files, on this machine or behind a URL such as gs://: opened, unpacked, read line by line, hashed.

Whatever fsspec opens can be read; it is a dependency already, gs:// needs the package gcsfs beside it.
"""

import gzip
import hashlib
import io
import itertools
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from saltjax.errors import UserError

Read = Callable[[int], None]  # is told that so many more stored bytes have been read


def ignore(count: int) -> None:
    """A `Read` for those who do not want to know."""


class Stamp(NamedTuple):
    """What can be known of stored files without reading them."""

    identity: str  # changes when a file is written, replaced or renamed
    changed: int  # nanoseconds since 1970 of the last change; 0 where `identity` alone is proof
    size: int  # bytes as stored


@dataclass(frozen=True)
class StoredFile:
    """`path` is a local one or a URL."""

    path: str | Path

    def stamp(self) -> Stamp:
        return stamp(self.path)

    def sha256(self) -> str:
        with opened(self.path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def stamp(path: str | Path) -> Stamp:
    """Of a local file its inode, size and times (a write moves ctime, which nobody can set back); of an object in a
    bucket what the store says about it, generation or checksum included."""
    system, name = filesystem(path)
    try:
        if system is None:
            stat = Path(name).stat()
            known = (name, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            return Stamp(repr(known), max(stat.st_mtime_ns, stat.st_ctime_ns), stat.st_size)
        return Stamp(f"{path} {system.ukey(name)}", 0, int(system.size(name) or 0))
    except OSError as error:
        raise _unreadable(path, error) from None


def filesystem(path: str | Path) -> tuple[Any, str]:
    """(fsspec's file system, the name there) of a URL; (None, the absolute path) of a local path."""
    if "://" not in str(path):
        return None, str(Path(path).expanduser().absolute())
    import fsspec

    try:
        system, name = fsspec.core.url_to_fs(str(path))
    except (ImportError, ValueError) as error:  # gcsfs is missing; no such protocol
        raise UserError(f"{path} cannot be opened ({' '.join(str(error).split())})") from None
    return system, str(name)


def opened(path: str | Path, read: Read = ignore) -> io.BufferedReader:
    """The file's bytes in order. UserError: it does not exist, is a directory, cannot be opened."""
    return io.BufferedReader(_Counted(random_access(path), read), 1 << 20)


def random_access(path: str | Path) -> Any:
    """The file, seekable. UserError as `opened`."""
    system, name = filesystem(path)
    try:
        return Path(name).open("rb", buffering=0) if system is None else system.open(name, "rb")
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str | Path, error: OSError) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path} does not exist")
    if isinstance(error, IsADirectoryError):
        return UserError(f"{path} is a directory; give the files in it")
    return UserError(f"{path} cannot be opened: {error.strerror or error}")


class _Counted(io.RawIOBase):
    """A file read once from its start, that tells how far it is."""

    def __init__(self, file: Any, read: Read):
        self._file, self._read = file, read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._read(len(data))
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def lines(path: str | Path, read: Read = ignore) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of each line of a UTF-8 text, plain or packed with gzip, xz or zstd (told by its bytes).

    Lines end at `\\n` only: a carriage return, form feed or U+2028 is text. A byte order mark at the start is not.
    UserError: see `opened`; the file is packed and broken, or not UTF-8 (line and offset count in the unpacked text).
    """
    offset = 0
    with opened(path, read) as packed:
        rows = iter(_unpacked(packed))
        for number in itertools.count(1):
            try:
                raw = next(rows, None)
            except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
                raise UserError(f"{path} cannot be read after byte {offset} of its text: {error}") from None
            if raw is None:
                return
            # A line end is never part of a longer UTF-8 sequence, so lines can be decoded one by one.
            try:
                text = raw.removesuffix(b"\n").decode("utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path} is not UTF-8: byte 0x{raw[error.start]:02x} at offset {offset + error.start} "
                    f"(line {number}); convert it, for instance with iconv -f latin1 -t utf-8"
                ) from None
            yield number, text.removeprefix("\ufeff") if number == 1 else text
            offset += len(raw)


def _unpacked(file: io.BufferedReader) -> io.BufferedReader:
    # None of these first bytes can begin a UTF-8 text.
    magic = file.peek(6)[:6]
    if magic.startswith(b"\x1f\x8b"):
        return io.BufferedReader(gzip.open(file), 1 << 20)
    if magic == b"\xfd7zXZ\x00":
        return io.BufferedReader(lzma.open(file), 1 << 20)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow  # its decoder knows joined frames and notices a truncated file

        return io.BufferedReader(pyarrow.CompressedInputStream(file, "zstd"), 1 << 20)
    return file


def checked_text(value: Any, where: str) -> str:
    """A document that another format held: text as it is, nothing for null. UserError, naming `where`."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(f"{where}: the text is a {type(value).__name__}, not a string; name another field")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"{where}: half of a surrogate pair at character {error.start}, which is no text") from None
    return value
