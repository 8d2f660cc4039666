"""Where the questions of a set come from: a folder of files, a set that TFDS has prepared, or the hub."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saltjax.errors import UserError
from saltjax.evaluate.formats import Read, Row

PARQUET = "refs/convert/parquet"  # the branch in which the hub keeps every public set as Parquet
PACKINGS = ("", ".xz", ".gz", ".zst")


@dataclass(frozen=True)
class Split:
    """One split of a set, in each of the places where it may lie."""

    file: str  # in a folder of evaluation sets: xnli/dev-de.tsv, maybe packed
    read: Read
    hub: tuple[str, str, str] | None = None  # repository, configuration, split
    tfds: tuple[str, str] | None = None  # name with configuration, split


@dataclass(frozen=True)
class Rows:
    rows: list[Row]
    source: str

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        """(where it stands, for messages; row)"""
        return ((f"{self.source}, question {number}", row) for number, row in enumerate(self.rows, 1))


@dataclass(frozen=True)
class Sets:
    """`folder` holds all sets (see docs/evaluation.md); None: those that TFDS has prepared, else the hub."""

    folder: Path | None = None

    def rows(self, task: str, splits: Sequence[Split]) -> Rows:
        """The rows of the first of `splits` that can be had.

        Raises UserError: none of them is there; a broken file; the hub cannot be reached.
        """
        if self.folder is not None:
            return self._from_folder(task, splits)
        for split in splits:
            if split.tfds and (directory := prepared(split.tfds[0])):
                return Rows(list(from_tfds(directory, split.tfds[1])), f"tfds:{split.tfds[0]}, {split.tfds[1]}")
        found = next((split for split in splits if split.hub), None)
        if found is None or found.hub is None:
            raise UserError(f"{task} is not on the hub; give a folder that has {splits[0].file}: --data DIR")
        return Rows(from_hub(task, *found.hub), f"hub:{found.hub[0]}, {found.hub[1]}, {found.hub[2]}")

    def _from_folder(self, task: str, splits: Sequence[Split]) -> Rows:
        assert self.folder is not None
        for split in splits:
            for packing in PACKINGS:
                path = self.folder / (split.file + packing)
                if path.is_file():
                    rows = list(split.read(path))
                    if not rows:
                        raise UserError(f"{path} holds no question")
                    return Rows(rows, str(path.relative_to(self.folder)))
        there = self.folder / Path(splits[0].file).parent
        names = sorted(path.name for path in there.iterdir()) if there.is_dir() else []
        few = ", ".join(names[:8]) + (" and more" if len(names) > 8 else "") or "nothing"
        raise UserError(f"{task}: {self.folder / splits[0].file} does not exist; {there} has {few}")


def prepared(name: str) -> Path | None:
    """The newest version of a set in TFDS' own folder, if it has been prepared there."""
    root = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser() / name
    versions = [path.parent for path in root.glob("*/dataset_info.json")]
    return max(versions, key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)], default=None)


def from_tfds(directory: Path, split: str) -> Iterator[Row]:
    """The records of a prepared set, texts as `str`, arrays as lists. Only array_record can be read."""
    import tensorflow_datasets as tfds

    try:
        source = tfds.builder_from_directory(directory).as_data_source(split=split)
    except Exception as error:  # TFDS raises anything: an unknown split, files that only TensorFlow reads
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{directory}: split {split!r} cannot be read ({reason})") from None
    return (_plain(source[index]) for index in range(len(source)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim):
        return [_plain(inner) for inner in value]
    return value.item() if hasattr(value, "item") else value


def from_hub(task: str, repository: str, config: str, split: str) -> list[Row]:
    """All rows of a split of a public set, out of the Parquet files that the hub makes of it."""
    import pyarrow.parquet
    from huggingface_hub import HfApi, hf_hub_download

    try:
        names = HfApi().list_repo_files(repository, repo_type="dataset", revision=PARQUET)
        chosen = sorted(name for name in names if re.fullmatch(rf"{re.escape(f'{config}/{split}')}/.*\.parquet", name))
        files = [hf_hub_download(repository, name, repo_type="dataset", revision=PARQUET) for name in chosen]
        tables = [pyarrow.parquet.read_table(file) for file in files]
    except Exception as error:  # which classes a missing network raises depends on the hub library's HTTP library
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{task}: {repository} cannot be had from the hub ({reason}); give its files: --data DIR"
        ) from None
    if not chosen:
        raise UserError(f"{task}: {repository} on the hub has no {config}/{split}; give its files: --data DIR")
    return [row for table in tables for row in table.to_pylist()]
