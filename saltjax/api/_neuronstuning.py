"""neurons tune: train the neurons of languages and nothing else."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from saltjax.api._adapt import adapt
from saltjax.api._finetune import finetune
from saltjax.data.tokens import Progress
from saltjax.errors import UserError
from saltjax.train.neuronsets import MASKED, SPARSE


def neurons_tune(
    model: str | Path,
    run: str | Path,
    neurons: str | Path,
    languages: str,
    *,
    data: Sequence[str | Path] = (),
    text: Sequence[str | Path] = (),
    valid: Sequence[str | Path] = (),
    full_rank: bool = False,
    config: str | Path | None = None,
    overrides: Sequence[str] = (),
    progress: Callable[[str, Progress], None] | None = None,
) -> dict[str, Any]:
    """`finetune` on the examples `data`, or `adapt` to `text`, with what learns set to neurons of MODEL.

    `neurons` is what `neurons_find` wrote; `languages` is "vi", "en,vi" for both together, or a control, "random:vi"
    (`train.neuronsets`). They learn by masked LoRA (Mondal et al. 2025, arXiv 2503.17456, section 3; settings
    `lora.*`), or with `full_rank` themselves.

    Returns and raises what `finetune` and `adapt` do; UserError unless exactly one of `data` and `text` is given, and
    for a `trainable` among the overrides.
    """
    if bool(data) == bool(text):
        raise UserError("give either examples to learn from with --data FILE..., or text with --text FILE...")
    if any(one.startswith("trainable=") for one in overrides):
        raise UserError("trainable is what `neurons tune` sets; leave it out, or use adapt or finetune")
    settings = [*overrides, f"trainable={SPARSE if full_rank else MASKED}{neurons}@{languages}"]
    given: dict[str, Any] = {"valid": valid, "config": config, "overrides": settings, "progress": progress}
    return finetune(model, run, data=data, **given) if data else adapt(model, run, text=text, **given)
