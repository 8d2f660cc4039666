"""An output directory that appears whole or not at all."""

import errno
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from saltjax.errors import UserError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# What --overwrite may delete: a directory that one of our commands, or transformers, wrote.
OURS = ("config.json", "config.yaml", "transfer.json", "neurons.json", "layers.json", "interventions.json")


@contextmanager
def whole_directory(out: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A directory beside `out` to write into; renamed to `out` when the block ends well, else removed.

    An existing `out` is replaced only then, and only with `overwrite`. Any exception, Ctrl-C too, leaves everything
    as it was. Raises UserError: `out` exists; the place cannot be written; the disk is full.
    """
    target = Path(out).expanduser().resolve()
    _check_replaceable(out, target, overwrite)
    made = _make_parents(out, target)
    partial = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        try:
            partial.mkdir()
        except OSError as error:
            raise UserError(f"{out}: cannot write beside it ({error.strerror}: {target.parent})") from None
        yield partial
        _replace(out, partial, target, overwrite)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in made:
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError) and error.errno in FULL:
            raise UserError(f"{out}: the disk is full ({error.strerror}); nothing was left there") from None
        raise


def _check_replaceable(out: str | Path, target: Path, overwrite: bool) -> None:
    if not target.exists():
        return
    if not overwrite:
        raise UserError(f"{out}: exists already; choose another name or pass --overwrite")
    if not target.is_dir():
        raise UserError(f"{out}: is a file; choose another name")
    here = Path.cwd()
    if target == here or target in here.parents:
        raise UserError(f"{out}: holds the current directory; it cannot be overwritten")
    if any(target.iterdir()) and not any((target / name).exists() for name in OURS):
        raise UserError(
            f"{out}: holds neither a model nor a run, so --overwrite does not delete it; remove it yourself"
        )


def _make_parents(out: str | Path, target: Path) -> list[Path]:
    """Create the missing parents; returns them, innermost first."""
    missing = [parent for parent in target.parents if not parent.exists()]
    made: list[Path] = []
    try:
        for parent in reversed(missing):
            parent.mkdir()
            made.insert(0, parent)
    except OSError as error:
        for parent in made:
            parent.rmdir()
        raise UserError(f"{out}: cannot create {parent} ({error.strerror})") from None
    return made


def _replace(out: str | Path, partial: Path, target: Path, overwrite: bool) -> None:
    old = partial.with_suffix(".old")
    try:
        if overwrite and target.exists():
            target.rename(old)
        partial.rename(target)
    except BaseException as error:
        if old.exists():
            old.rename(target)
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise UserError(f"{out}: was created by another program meanwhile; choose another name") from None
        raise
    shutil.rmtree(old, ignore_errors=True)
