"""What is kept of a step whose loss or gradient is not finite: its batch, and what can be said about it."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from saltjax.errors import UserError
from saltjax.train.meter import Batch, NotFinite
from saltjax.train.run import Run
from saltjax.train.sharding import leaves

TEXTS = 4  # rows of the batch that are written out as text

Decode = Callable[[np.ndarray], str]


def stopped(
    run: Run, found: NotFinite, params: dict, learning: Iterable[str], good: str, decode: Decode | None
) -> UserError:
    """Write RUN/nan/step-N/{batch.npz, note.json}; the error to be raised.

    batch.npz: tokens, segments, positions int32 [rows, seq_len]; with several processes each writes its own rows.
    note.json: step, loss, grad_norm, learning_rate, gradient_norms {parameter: its gradient's},
    gradients_not_finite, parameters_not_finite: of `params` before the step, which a bad step leaves as they were
    (`step.py`), text: the documents of the first rows, if `decode` reads token ids.
    """
    folder = run.path / "nan" / f"step-{found.step}"
    folder.mkdir(parents=True, exist_ok=True)
    process = jax.process_index()
    name = "batch.npz" if jax.process_count() == 1 else f"batch-{process}.npz"
    np.savez_compressed(folder / name, **found.batch)  # type: ignore[arg-type]
    broken = [path for path, x in leaves(params) if not bool(jnp.isfinite(x).all())]
    norms = dict(zip(sorted(learning), found.values["gradient_norms"].tolist(), strict=True))
    note: dict[str, Any] = {
        "step": found.step,
        **{key: _plain(found.values[key]) for key in ("loss", "grad_norm", "learning_rate")},
        "parameters_not_finite": broken,
        "gradients_not_finite": [path for path, norm in norms.items() if not np.isfinite(norm)],
        "gradient_norms": {path: _plain(norm) for path, norm in norms.items()},
        "text": [_texts(found.batch, row, decode) for row in range(min(TEXTS, len(found.batch["tokens"])))]
        if decode
        else None,
    }
    if process == 0:
        (folder / "note.json").write_text(json.dumps(note, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return UserError(_line(run, found, broken, folder, good))


def _line(run: Run, found: NotFinite, broken: list[str], folder: Path, good: str) -> str:
    before = f"; {broken[0]} was not finite before it" if broken else ""
    return (
        f"{run.path}: {found.key} is {found.values[found.key]} at step {found.step}{before}; its batch is in {folder}; "
        f"{good}; try a new run with a lower learning_rate (now {run.config.learning_rate}) or a longer warmup_steps"
    )


def _plain(number: float) -> float | str:
    """JSON has no NaN."""
    return number if np.isfinite(number) else str(number)


def _texts(batch: Batch, row: int, decode: Decode) -> list[str]:
    """The pieces of a row, padding left out."""
    segments = batch["segments"][row]
    return [decode(batch["tokens"][row][segments == one]) for one in np.unique(segments[segments > 0])]
