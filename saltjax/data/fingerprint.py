"""What a corpus or another file is, by its content, without reading it again at every start."""

import hashlib
import os
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

from saltjax.data.files import Stamp

SETTLED = 3_000_000_000  # nanoseconds: coarser than the clock of any file system in use (FAT: two seconds)


@runtime_checkable
class Stored(Protocol):
    """A `corpus.Source`, or whatever else has these two of its methods."""

    def fingerprint(self) -> str: ...

    def stamp(self) -> Stamp: ...


def fingerprints(sources: Sequence[Stored], notes: Path) -> list[str]:
    """`fingerprint()` of each source, from a note in the directory `notes` if its stamp has not changed.

    Safe in the way of git's index: a note is only made if the file's last change (its ctime, which a write always
    moves) lay some seconds before the reading began, for a write within one tick of the file system's clock would not
    show. So a file that was changed just now is read again the next time. Clocks of file servers that run far behind
    this machine's are the case that it does not cover; removing `notes` makes everything be read again. Where `notes`
    cannot be written, everything is.
    """
    return [_fingerprint(source, notes) for source in sources]


def _fingerprint(source: Stored, notes: Path) -> str:
    before = source.stamp()
    note = notes / hashlib.sha256(f"{source!r} {before.identity}".encode()).hexdigest()
    if note.is_file():
        return note.read_text(encoding="utf-8")
    began = time.time_ns()
    found = source.fingerprint()
    if before == source.stamp() and before.changed + SETTLED < began:
        with suppress(OSError):
            notes.mkdir(parents=True, exist_ok=True)
            partial = note.with_name(f".{note.name}.{uuid.uuid4().hex[:8]}")
            partial.write_text(found, encoding="utf-8")
            os.replace(partial, note)
    return found
