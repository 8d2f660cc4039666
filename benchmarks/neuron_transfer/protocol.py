"""Does training or holding a language's neurons help a task in this language? Mondal et al. 2025 (arXiv 2503.17456).

    python benchmarks/neuron_transfer/protocol.py WORK                           # the pocket LLM, pocket questions
    python benchmarks/neuron_transfer/protocol.py WORK --task xquad
    python benchmarks/neuron_transfer/protocol.py WORK --model MODEL --sets DATA/eval \\
        --text en=en.txt vi=vi.txt hi=hi.txt --languages vi hi --config configs/neurons-xnli.yaml

1. The languages' neurons, from the text (LAPE; --method, --rate).
2. Fine-tuning on the English questions of the task (`questions.py`). What learns (`tuned.py`): LoRA of the attention
   and of the gate; the same with the gate's masked to a language's neurons, or to as many random ones; these neurons
   full-rank; LoRA of the attention alone.
3. The test questions of each language, asked of every arm; and, of the model as it is, of full LoRA and of the arm of
   the language's neurons, with those neurons held at a value (--holds), beside as many random ones. A question that is
   too long for the model in one of --languages, or in English, is asked in none, and it is said how many are.
4. Tables with 95 % bootstrap intervals and paired tests, in WORK/results.md.

All of it is kept in WORK; the same command goes on where it was stopped. What stands behind the options as KEY=VALUE
are settings of `saltjax finetune`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from asking import all_asked, ask
from outcomes import arms_table, holds_table
from questions import asked, fitting, learned, write_examples, write_pocket_sets
from rich.console import Console
from tuned import LORA, UNTRAINED, arms, trained

from saltjax import api
from saltjax.errors import UserError
from saltjax.evaluate.task import limited
from saltjax.hub.config import read_config
from saltjax.hub.locate import locate
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.models.families import family_of
from saltjax.neurons.files import read_neurons

POCKET = Path(api.__file__).parents[1] / "pocket/weights/llm"
# For the pocket LLM, which has 20 language neurons in all at the usual rate of 1 %.
SMALL, RATE = ("steps=150", "batch_size=8", "seq_len=128", "learning_rate=3e-3", "warmup_steps=10", "unroll=true"), 0.05
ATTENTION = {"xnli": "layers.attn.[qkvo]", "xquad": "layers.attn.[qkv]"}  # that the paper's code adapts


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--task", choices=list(ATTENTION), default="xnli")
    parser.add_argument("--model", default=str(POCKET))
    parser.add_argument("--sets", type=Path)
    parser.add_argument("--text", nargs="+", default=[])
    parser.add_argument("--languages", nargs="+", default=["de"])
    parser.add_argument("--method", default="lape")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--holds", nargs="*", default=["mean", "p90", "zero", "p5"])
    parser.add_argument("--most", type=int, help="test questions a language")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--batch-size", type=int, default=16, help="of the evaluation")
    return parser.parse_intermixed_args(words)


def main() -> None:
    try:
        print(compared(options(), Console(stderr=True, highlight=False, soft_wrap=True)))
    except UserError as error:
        sys.exit(f"error: {error}")


def compared(given: argparse.Namespace, console: Console) -> str:
    """The tables. UserError: see the commands; WORK was made with other options."""
    _same(given)
    work, sets, text = given.work, given.sets, given.text
    if sets is None:
        sets = work / "pocket"
        write_pocket_sets(sets)
        text = text or [f"{language}={sets / 'text' / f'{language}.txt'}" for language in ("en", "de", "ar", "vi")]
    rate = RATE if given.rate is None and given.model == str(POCKET) else given.rate
    if not (neurons := work / "neurons").exists():
        api.neurons_find(given.model, neurons, text=text, method=given.method, rate=rate, tokens=given.tokens)
    known = read_neurons(neurons)
    if without := [one for one in given.languages if one not in known.neurons or not known.neurons[one].any()]:
        raise UserError(f"--languages {without[0]}: no neurons; give --text {without[0]}=FILE, or a larger --rate")
    whole = {language: asked(given.task, language, sets) for language in ["en", *given.languages]}
    fit = fitting(whole, load_tokenizer(locate(given.model)), positions := _positions(given.model))
    too_long = len(whole["en"].questions) - len(fit["en"].questions)
    said = f"{too_long} questions too long for {positions} positions in one of the languages are asked in none."
    console.print(said)
    if not fit["en"].questions:
        raise UserError(f"{given.model}: no question fits into its {positions} positions in all of the languages")
    tasks = {language: limited(task, given.most) for language, task in fit.items()}
    data = work / "english.jsonl"
    write_examples(learned(given.task, sets), data)
    planned = arms(neurons, given.languages, ATTENTION[given.task])
    settings = given.settings if given.config else [*SMALL, *given.settings]

    def questions(name: str, languages: list[str], holds: list[str], directory: str | Path) -> None:
        todo = list(all_asked(languages, holds))
        ask(directory, name, todo, tasks, known, work / "answers", given.batch_size)
        console.print(f"{name}: {len(todo)} times asked")

    questions(UNTRAINED, list(tasks), given.holds, given.model)
    for arm in planned:
        model = trained(arm, given.model, data, work, given.config, settings)
        holds = given.holds if arm.name in (LORA, "neurons") else []
        questions(arm.file, ["en", arm.of] if arm.of else list(tasks), holds, model)
    lines = [f"# {given.task}: learned in English", "", said, ""]
    for language in given.languages:
        lines += [f"## {language}: {known.neurons[language].sum():,} neurons, "
                  f"{len(tasks[language].questions):,} questions", ""]  # fmt: skip
        lines += [*arms_table(work / "answers", planned, language), ""]
        names = [UNTRAINED, LORA, f"neurons.{language}"] if given.holds else []
        lines += [*holds_table(work / "answers", names, language, given.holds), ""] if names else []
    (work / "results.md").write_text("\n".join(lines), encoding="utf-8")
    return "\n".join(lines)


def _positions(model: str) -> int:
    config = read_config(locate(model))
    return family_of(config).decoder_config(config).max_positions


def _same(given: argparse.Namespace) -> None:
    path = given.work / "options.json"
    now = json.dumps({key: value for key, value in vars(given).items() if key != "work"}, default=str, indent=1)
    given.work.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(now, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != now:
        raise UserError(f"{path}: WORK was made with other options; give another one")


if __name__ == "__main__":
    main()
