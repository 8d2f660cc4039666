"""What a corpus is, by its content, without reading it again at every start."""

import hashlib
import os
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from saltjax.data.corpus import Source

SETTLED = 3_000_000_000  # nanoseconds: coarser than the clock of any file system in use (FAT: two seconds)


def fingerprints(sources: Sequence[Source], notes: Path) -> list[str]:
    """`fingerprint()` of each source, from a note in the directory `notes` if its stamp has not changed.

    Safe in the way of git's index: a note is only made if the file's last change (its ctime, which a write always
    moves) lay some seconds before the reading began, for a write within one tick of the file system's clock would not
    show. So a file that was changed just now is read again the next time. Clocks of file servers that run far behind
    this machine's are the case that it does not cover; removing `notes` makes everything be read again.
    """
    return [_fingerprint(source, notes) for source in sources]


def _fingerprint(source: Source, notes: Path) -> str:
    before = source.stamp()
    note = notes / hashlib.sha256(f"{source!r} {before.identity}".encode()).hexdigest()
    if note.is_file():
        return note.read_text(encoding="utf-8")
    began = time.time_ns()
    found = source.fingerprint()
    if before == source.stamp() and before.changed + SETTLED < began:
        notes.mkdir(parents=True, exist_ok=True)
        partial = note.with_name(f".{note.name}.{uuid.uuid4().hex[:8]}")
        partial.write_text(found, encoding="utf-8")
        os.replace(partial, note)
    return found
