"""saltjax adapt MODEL RUN --text FILE..."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from saltjax.cli.output import Json
from saltjax.cli.plan import Plan, show_plan
from saltjax.cli.trained import report_run


def adapt(
    model: Annotated[str, typer.Argument(help="A model directory (of `saltjax transfer`) or a hub id.")],
    run: Annotated[Path, typer.Argument(help="The run's directory; an existing one is resumed.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, e.g. steps=2000 mesh.tensor=2.")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", help="To learn from: FILE... (file, folder, pattern), or FILE=WEIGHT.")
    ] = None,
    tfds: Annotated[str | None, typer.Option("--tfds", help="Or a TFDS name or prepared directory.")] = None,
    valid: Annotated[
        list[str] | None, typer.Option("--valid", help="Held-out text, FILE or NAME=FILE; can be given again.")
    ] = None,
    layout: Annotated[str, typer.Option(help="line: a line is a document. blank: blank lines separate them.")] = "line",
    config: Annotated[Path | None, typer.Option("--config", help="A YAML file of settings.")] = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="One of several processes of a run; see docs/checkpoints.md.")
    ] = False,
    plan: Plan = None,
    as_json: Json = False,
) -> None:
    """Continue the training of a causal language model on text, on whatever devices there are.

    Settings: steps epochs batch_size seq_len accumulate learning_rate warmup_steps schedule final_learning_rate_ratio
    decay_steps embedding_learning_rate_ratio optimizer moments_dtype weight_decay clip_norm beta1 beta2 ema z_loss
    trainable embeddings_first stages lora.rank lora.alpha lora.targets compute_dtype remat seed eval_every
    checkpoint_every keep_checkpoints keep_best checkpoints log_every wandb profile_steps data cache mesh.data mesh.fsdp
    mesh.tensor; `configs/adapt.yaml` says what each does.

    Text, JSON lines (both also .gz .xz .zst), Parquet, and folders of them or of a Hugging Face data set; more in
    docs/data.md. 5 % of another corpus: --text de.jsonl --text en.txt=0.05.

    Ctrl-C saves; the same command resumes. Example:

    saltjax adapt llama-de runs/llama-de --text de.txt --valid de=valid.txt steps=2000 learning_rate=3e-4

    Before you rent a TPU (docs/tpu.md): saltjax adapt llama-de runs/llama-de batch_size=32 --plan v5e:4x4
    """
    if plan:
        return show_plan(model, plan, config, settings or (), as_json)
    from saltjax import api
    from saltjax.cli.reading import Reading
    from saltjax.train.processes import primary, together

    with together() if distributed else nullcontext(), Reading() as reading:
        record = api.adapt(
            model,
            run,
            text=text or (),
            tfds=tfds,
            valid=valid or (),
            layout=layout,
            config=config,
            overrides=settings or (),
            progress=reading,
        )
        speaks = primary()
    report_run(record, as_json, speaks)
