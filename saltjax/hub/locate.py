"""Where a model lies: a local directory, or a hub id that is fetched into huggingface_hub's cache."""

import re
from pathlib import Path

from saltjax.errors import UserError

# Weights are fetched in one format only: the first of these that the repository has.
WEIGHTS = (r"model\.safetensors", r"model.*\.safetensors(\.index\.json)?", r"pytorch_model.*\.bin(\.index\.json)?")
REST = r"(?!.*\.index\.json$).*\.(json|model|txt|jinja|tiktoken)"


def locate(name: str | Path) -> Path:
    """The directory of a model: `name` itself, or the cached snapshot of the hub repository `owner/name`.

    Raises UserError: nothing there, not a model directory (no config.json), hub id without network.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(f"{name}: not a model directory (it has no config.json)")
        return path
    if path.exists():
        raise UserError(f"{name}: is a file; give the model directory that holds config.json")
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", str(name)):
        raise UserError(f"{name}: no such directory (a hub id is written owner/name)")
    return fetch(str(name))


def fetch(hub_id: str) -> Path:
    """Download (or find in the cache) what a transfer needs of a hub repository."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        # Asked first, and with a short timeout: the downloader would retry for half a minute without a network.
        files = [file.rfilename for file in HfApi().model_info(hub_id, timeout=10).siblings or []]
        if "config.json" not in files:
            raise UserError(f"{hub_id}: not a model on the hub (the repository has no config.json)")
        return Path(snapshot_download(hub_id, allow_patterns=wanted(files)))
    except GatedRepoError:
        raise UserError(f"{hub_id}: gated on the hub; accept its licence there, then `hf auth login`") from None
    except HFValidationError:
        raise UserError(f"{hub_id}: no such directory, and not a valid hub id") from None
    except RepositoryNotFoundError:
        raise UserError(
            f"{hub_id}: no such directory, and no such model on the hub (private? `hf auth login`)"
        ) from None
    except UserError:
        raise
    except Exception as error:  # which classes a missing network raises depends on the hub library's HTTP library
        return _cached(hub_id, error)


def wanted(files: list[str]) -> list[str]:
    """Of a repository's files those to fetch: configuration and tokenizer, and the weights in one format."""
    top = [file for file in files if "/" not in file]
    weights: list[str] = []
    for pattern in WEIGHTS:
        weights = weights or [file for file in top if re.fullmatch(pattern, file)]
    return sorted({*weights, *(file for file in top if re.fullmatch(REST, file))})


def _cached(hub_id: str, error: Exception) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(hub_id, local_files_only=True))
    except LocalEntryNotFoundError:
        path = None
    if path is None or not (path / "config.json").is_file():
        reason = next(iter(str(error).split("\n")), "") or type(error).__name__
        raise UserError(
            f"{hub_id}: no such directory, and the hub cannot be reached ({reason}); "
            "download the model elsewhere and give its path"
        )
    return path
