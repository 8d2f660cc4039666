"""Which model a run is made from: the content of its files, so that another one in its place is noticed."""

import hashlib
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from saltjax.data.files import StoredFile
from saltjax.data.fingerprint import fingerprints
from saltjax.hub.tensors import open_checkpoint
from saltjax.hub.tokenizer import VOCABULARY_FILES

# What else of a model directory decides how a text is read and what is computed of it.
BESIDE = r"config\.json|special_tokens_map\.json|added_tokens\.json|merges\.txt|chat_template\.(jinja|json)"


@dataclass(frozen=True)
class ModelFile(StoredFile):
    def fingerprint(self) -> str:
        return self.sha256()


def model_digests(directory: Path, notes: Path) -> dict[str, str]:
    """{file name: SHA-256} of config.json, the tokenizer's files and the weights of a model directory, in the names'
    order. A file that has not changed since a note in the directory `notes` was made is not read again.

    Raises UserError: see `hub.tensors.open_checkpoint`.
    """
    names = {path.name for path in directory.iterdir() if re.fullmatch(f"{VOCABULARY_FILES}|{BESIDE}", path.name)}
    names |= {path.name for path in open_checkpoint(directory).files}
    files = [ModelFile(directory / name) for name in sorted(names)]
    with ThreadPoolExecutor() as threads:  # hashing lets other threads run
        found = threads.map(lambda file: fingerprints([file], notes)[0], files)
        return dict(zip(sorted(names), found, strict=True))


def together(digests: Mapping[str, str]) -> str:
    """One SHA-256 for all files."""
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
