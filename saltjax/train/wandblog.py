"""The same numbers for Weights & Biases, where it is installed and asked for (setting `wandb=PROJECT`)."""

import importlib.util
import secrets
from pathlib import Path
from types import TracebackType
from typing import Any

from saltjax.errors import UserError


def check_installed(project: str) -> None:
    """UserError: a project is asked for and the package is not there."""
    if project and importlib.util.find_spec("wandb") is None:
        raise UserError(f"wandb={project} needs the package wandb: pip install wandb, or leave the setting out")


class WandbLog:
    """The W&B run of the run at `path`; its id is kept in PATH/wandb/id, so that a resumed run goes on in the same one.

    W&B keeps the lines that it has: those which a resumed run writes again, the same ones, are not sent. Without a
    network set WANDB_MODE=offline and send them later: wandb sync PATH/wandb/offline-run-*.

    UserError: W&B cannot be reached or does not know who you are.
    """

    def __init__(self, path: Path, project: str, settings: dict[str, Any]):
        import wandb

        folder = path / "wandb"
        folder.mkdir(exist_ok=True)
        file = folder / "id"
        if not file.exists():
            file.write_text(secrets.token_hex(4) + "\n", encoding="utf-8")
        try:
            self._run = wandb.init(
                project=project,
                id=file.read_text(encoding="utf-8").strip(),
                resume="allow",
                name=path.resolve().name,
                dir=path,
                config=settings,
                settings=wandb.Settings(silent=True, console="off"),  # stderr has a progress bar of ours
            )
        except wandb.errors.Error as error:
            raise UserError(
                f"wandb={project}: {' '.join(str(error).split())}; run wandb login, or set WANDB_MODE=offline"
            ) from None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._run.finish(exit_code=1 if error else 0)

    def write(self, step: int, numbers: dict[str, float]) -> None:
        if step >= self._run.step:
            self._run.log(numbers, step=step)
