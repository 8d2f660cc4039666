"""What a path stands for: one file, a pattern of files, or a folder in one of the layouts in use."""

import json
import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from saltjax.data.corpus import Source, file_source, kind_of
from saltjax.data.files import filesystem, opened
from saltjax.data.tfds import TfdsSplit
from saltjax.errors import UserError

# Words in the names of files and folders that tell a split.
SPLITS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation"}
SPLITS |= {"val": "validation", "dev": "validation", "test": "test", "testing": "test"}
# JSON that describes a data set and is not its text.
ABOUT = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "features.json"}


class Found(NamedTuple):
    sources: list[Source]
    left_out: list[str]  # files of other splits


def sources_of(path: str | Path, field: str = "text", layout: str = "line", split: str = "train") -> Found:
    """The sources of `path`, in the order of their names. It is

      a file          by its name text (also any other name), JSON lines, Parquet or Arrow; see `corpus.file_source`
      a pattern       with * ? [ ] or **: the files that match
      a TFDS set      the folder with dataset_info.json and features.json, see `TfdsSplit`
      another folder  all files of text, JSON lines, Parquet or Arrow beneath it, which must be of one kind:
                      what `datasets.save_to_disk` wrote, a data set copied from the hub, or simply files

    In a folder, a file is left out when its name (or a folder's on the way) tells a split that is not the wanted one:
    `test-00000-of-00002.parquet`, `validation/data.arrow`.

    Raises UserError: nothing there, no file of a known kind or of this split, several kinds; a missing part of a saved
    data set; see `files.opened`.
    """
    if _is_file(path):
        return Found([file_source(path, layout, field)], [])
    left_out: list[str] = []
    if re.search(r"[*?\[]", str(path)):
        files = [name for name in _matching(path) if _is_file(name)]
        if not files:
            raise UserError(f"{path}: no file matches")
    elif _is_file(f"{path}/dataset_info.json") and _is_file(f"{path}/features.json"):
        return Found([TfdsSplit(str(path), split, field)], [])
    elif not (below := _below(path)):
        raise UserError(f"{path} does not exist, or is an empty folder")
    else:
        files, left_out = _of_split(path, _complete(path, [name for name in below if _is_data(name)]), split)
        kinds = {kind_of(name) for name in files}
        if len(kinds) > 1:
            raise UserError(
                f"{path} holds {' and '.join(sorted(map(str, kinds)))}; give a pattern such as {path}/*.txt"
            )
    return Found([file_source(name, layout, field) for name in files], left_out)


def _is_file(path: str | Path) -> bool:
    system, name = filesystem(path)
    return Path(name).is_file() if system is None else bool(system.isfile(name))


def _matching(pattern: str | Path) -> list[str]:
    system, name = filesystem(pattern)
    if system is not None:
        return [system.unstrip_protocol(found) for found in sorted(system.glob(name))]
    import glob

    return sorted(glob.glob(name, recursive=True))


def _below(folder: str | Path) -> list[str]:
    """All files under it but hidden ones."""
    system, name = filesystem(folder)
    if system is not None:
        found = [system.unstrip_protocol(one) for one in system.find(name)]
    else:
        found = [str(one) for one in Path(name).rglob("*") if one.is_file()]
    return sorted(one for one in found if not any(part.startswith(".") for part in _inside(folder, one).parts))


def _inside(folder: str | Path, name: str) -> PurePosixPath:
    system, root = filesystem(folder)
    return PurePosixPath(name.removeprefix(root if system is None else system.unstrip_protocol(root)).lstrip("/"))


def _is_data(name: str) -> bool:
    return kind_of(name) is not None and PurePosixPath(name).name not in ABOUT


def _complete(folder: str | Path, files: list[str]) -> list[str]:
    """Without the caches that `datasets` leaves beside a saved set; UserError when a part of the set is missing."""
    kept = [name for name in files if kind_of(name) != "arrow"]
    for place in sorted({name.rpartition("/")[0] for name in files if kind_of(name) == "arrow"}):
        here = [name for name in files if name.rpartition("/")[0] == place and kind_of(name) == "arrow"]
        if _is_file(f"{place}/state.json"):
            try:
                with opened(f"{place}/state.json") as file:
                    parts = [f"{place}/{part['filename']}" for part in json.load(file)["_data_files"]]
            except (ValueError, KeyError, TypeError):
                raise UserError(f"{place}/state.json: damaged, it does not list the files of the data set") from None
            if missing := sorted(set(parts) - set(here)):
                raise UserError(f"{missing[0]} does not exist, but {place}/state.json lists it")
            here = parts
        kept += here
    return kept


def _of_split(folder: str | Path, files: list[str], split: str) -> tuple[list[str], list[str]]:
    wanted = SPLITS.get(split, split)

    def told(name: str) -> set[str]:
        return {SPLITS[word] for word in re.split(r"[^a-z]+", str(_inside(folder, name)).lower()) if word in SPLITS}

    kept = [name for name in files if wanted in told(name) or not told(name)]
    if not kept:
        splits = ", ".join(sorted(set().union(*map(told, files)))) or "none"
        raise UserError(f"{folder}: no .txt, .jsonl, .parquet or .arrow file of the split {split!r}; there is {splits}")
    return kept, [name for name in files if name not in set(kept)]
