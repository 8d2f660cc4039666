"""saltjax finetune MODEL RUN --data FILE..."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from saltjax.cli.output import Json
from saltjax.cli.plan import Plan, show_plan
from saltjax.cli.trained import report_run


def finetune(
    model: Annotated[str, typer.Argument(help="A model directory or a hub id.")],
    run: Annotated[Path, typer.Argument(help="The run's directory; an existing one is resumed.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, e.g. epochs=2 trainable=lora.")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", help="Examples: [NAME=]FILE..., JSON lines; or [NAME=]FILE=WEIGHT.")
    ] = None,
    valid: Annotated[
        list[str] | None, typer.Option("--valid", help="Held-out examples, FILE or NAME=FILE; can be given again.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A YAML file of settings.")] = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="One of several processes of a run; see docs/checkpoints.md.")
    ] = False,
    plan: Plan = None,
    as_json: Json = False,
) -> None:
    """Train a model to give the answers of examples: instructions, chats, translations. The loss is on answers only.

    An example is a line: {"messages": [{"role": "user", "content": ...}, ...]}, {"conversations": [{"from": "human",
    "value": ...}, ...]}, {"prompt": ..., "completion": ...} or {"instruction": ..., "input": ..., "output": ...}.

    Settings as for `saltjax adapt` (configs/adapt.yaml says what each does), such as trainable=lora; of use here:
    epochs=2 instead of steps, and template=auto|chat|plain|alpaca|verbatim. docs/finetune.md shows examples and masks;
    configs/slam.yaml and configs/finetune-*.yaml are recipes. What it would cost on TPUs: --plan v5e:4x4.

    Ctrl-C saves; the same command resumes. Example:

    saltjax finetune llama runs/llama-chat --data de=de.jsonl --valid de=de.valid.jsonl epochs=2 learning_rate=2e-5
    """
    if plan:
        return show_plan(model, plan, config, settings or (), as_json)
    from saltjax import api
    from saltjax.cli.reading import Reading
    from saltjax.train.processes import primary, together

    with together() if distributed else nullcontext(), Reading() as reading:
        record = api.finetune(
            model, run, data=data or (), valid=valid or (), config=config, overrides=settings or (), progress=reading
        )
        speaks = primary()
    report_run(record, as_json, speaks, " of the answers")
