"""export: a checkpoint of a run as an ordinary PyTorch / Hugging Face directory."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from saltjax.errors import UserError
from saltjax.hub.config import read_config
from saltjax.hub.directory import whole_directory
from saltjax.models.decoder import hidden_states, logits
from saltjax.models.export import write_model
from saltjax.models.families import family_of
from saltjax.models.load import load_model
from saltjax.train import checkpoint, metrics
from saltjax.train.best import MEAN, NONE, best_step
from saltjax.train.lora import merged
from saltjax.train.peft import write_adapter
from saltjax.train.phases import Phases
from saltjax.train.run import Run, read, stored_dtypes
from saltjax.train.trainable import merge

NOT_THE_MODELS = ("tensors.json", "transfer.json", "tokens.tsv.gz")  # of run/model: facts about where it came from


def export(
    run: str | Path,
    out: str | Path,
    *,
    step: int | str | None = None,
    overwrite: bool = False,
    adapter: bool = False,
    ema: bool = False,
) -> dict[str, Any]:
    """Write the checkpoint of `step` to the directory `out`, which transformers loads: by default the last one, with
    "best" the one with the lowest held-out bits per byte (as the run's `keep_best` says; else their mean).

    Adapters (LoRA) are merged into the matrices that they belong to; with `adapter` they alone are written, as a
    directory that PEFT loads on top of the model that the run started from.

    With `ema` the moving averages of what learned take its place (setting `ema`).

    Tensors keep the dtypes of the model that the run started from. With torch installed the written model is loaded
    by transformers and its logits are compared with ours on a few random tokens, both in float32.

    Returns out, step, max_abs_logit_difference (null without torch). Raises UserError: not a run, no such step, a
    damaged checkpoint,
    logits that differ by more than 1e-2 of their size; `adapter` where there are none or not them alone were trained;
    `ema` of a run without.
    """
    opened = read(Path(run))
    hf_config = read_config(opened.model)
    config = family_of(hf_config).decoder_config(hf_config)
    if adapter and (also := [spec for spec in opened.config.specs if spec != "lora" and not spec.startswith("lora:")]):
        raise UserError(
            f"{run}: adapters are not all that this run trained ({', '.join(also)}); export without --adapter"
        )
    if ema and not opened.config.ema:
        raise UserError(f"{run}: this run keeps no moving averages (ema=0); export without --ema")
    with whole_directory(out, overwrite) as partial:
        found, params = checkpoint.load_params(opened.checkpoints, _number(opened, step))
        if ema:
            mask = Phases(params, opened.config).mask(found)
            params = merge(params, checkpoint.load_means(opened.checkpoints, found), mask)
        if adapter:
            base = str(opened.inputs["model"])
            write_adapter(partial, config, params, stored_dtypes(opened), opened.config.lora, base)
            return {"out": str(out), "step": found, "max_abs_logit_difference": None}
        write_model(partial, config, merged(params, opened.config), stored_dtypes(opened))
        for file in sorted(opened.model.iterdir()):
            if file.name not in NOT_THE_MODELS:
                shutil.copyfile(file, partial / file.name)
        difference = max_logit_difference(partial)
    return {"out": str(out), "step": found, "max_abs_logit_difference": difference}


def _number(run: Run, step: int | str | None) -> int | None:
    if isinstance(step, int) or step is None:
        return step
    if step.isdigit():
        return int(step)
    if step != "best":
        raise UserError(f"--step {step} is neither a step nor best")
    of = run.config.keep_best if run.config.keep_best != NONE else MEAN
    scores = {line["step"]: line["bits_per_byte"] for line in metrics.read(run.metrics) if "bits_per_byte" in line}
    best = best_step(scores, of, checkpoint.steps(run.checkpoints))
    if best is None:
        raise UserError(f"{run.path}: no checkpoint was measured on held-out text ({of}); give --step a number")
    return best


def max_logit_difference(directory: Path) -> float | None:
    """Largest absolute difference between transformers' logits and ours in float32; None without torch."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = load_model(directory)
    length = min(64, model.config.max_positions)
    tokens = np.random.default_rng(0).integers(0, model.config.vocab_size, (1, length), dtype=np.int32)
    positions, segments = np.arange(length, dtype=np.int32)[None], np.ones((1, length), np.int32)
    hidden = jax.jit(hidden_states, static_argnums=(0, 5))(
        model.graphdef, model.params, tokens, positions, segments, jnp.float32
    )
    ours = np.asarray(logits(model.config, model.params, hidden))[..., : model.config.vocab_size]
    theirs_model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        theirs = theirs_model(torch.from_numpy(tokens).long()).logits.numpy()
    difference = float(np.abs(ours - theirs).max())
    if not difference <= 1e-2 * max(1.0, float(np.abs(theirs).max())):
        raise UserError(
            f"{directory}: the exported model's logits differ from ours by {difference:.3g}; "
            "nothing was written. Please report this with the model's config.json"
        )
    return difference
