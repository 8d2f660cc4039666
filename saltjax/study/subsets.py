"""Nested subsets: the rows of a pool in an order by hash, of which a budget of n takes the first n."""

import hashlib
from collections.abc import Collection, Sequence

from saltjax.study.rows import Row


def ordered(rows: Sequence[Row], seed: int, task: str, language: str) -> list[Row]:
    """By SHA-256 of seed, task, language and the row's messages: the same whatever order the file has, and what n rows
    hold 2n rows hold too. Another seed draws other rows, so that intervals over seeds know of the draw (ours)."""
    salt = f"{seed}\0{task}\0{language}\0".encode()
    return sorted(rows, key=lambda row: hashlib.sha256(salt + row.digest.encode()).digest())


def as_file(rows: Sequence[Row]) -> bytes:
    """JSON lines, as they stood in their file."""
    return "".join(f"{row.line}\n" for row in rows).encode()


def digests(rows: Sequence[Row], sizes: Collection[int]) -> dict[int, str]:
    """{n: SHA-256 of the file with the first n rows}, in one pass."""
    found, digest = {}, hashlib.sha256()
    done = 0
    for size in sorted(sizes):
        digest.update(as_file(rows[done:size]))
        found[size], done = digest.hexdigest(), size
    return found
