"""The commands, by name. They import what they need when they run, so that `--help` answers at once."""

from typing import Annotated

import typer

from saltjax.cli.adapt import adapt
from saltjax.cli.evaluate import evaluate
from saltjax.cli.export import export
from saltjax.cli.finetune import finetune
from saltjax.cli.inspect import inspect
from saltjax.cli.layers import layers
from saltjax.cli.neurons import neurons
from saltjax.cli.quickstart import quickstart
from saltjax.cli.report import report
from saltjax.cli.study import study
from saltjax.cli.transfer import transfer
from saltjax.cli.vocab import vocab

app = typer.Typer(
    help="Give an English-centric LLM the vocabulary of another language, adapt it, and hand back a PyTorch model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool | None) -> None:
    if wanted:
        import saltjax

        print(saltjax.__version__)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = None,
) -> None:
    pass


for command in (quickstart, inspect, transfer, adapt, finetune, export, evaluate, report):
    app.command()(command)
app.add_typer(vocab, name="vocab")
app.add_typer(neurons, name="neurons")
app.add_typer(layers, name="layers")
app.add_typer(study, name="study")
