"""Text of a language learned by its neurons alone, by as many random ones, by adapters of either, by whole adapters.

    saltjax neurons find MODEL NEURONS --text en=en.txt de=de.txt vi=vi.txt --rate 0.05
    python benchmarks/neuron_tuning.py WORK NEURONS --text de=de.txt vi=vi.txt \\
        --valid en=en.valid.txt de=de.valid.txt vi=vi.valid.txt [--model MODEL] [KEY=VALUE...]

The languages of --text are learned, those of --valid are measured, all by the same settings (those of `saltjax adapt`;
the defaults below are for the pocket LLM). Prints a table of the changes in bits per byte, and keeps it as
WORK/results.md. Runs that are done are not done again, so the same command goes on where it was stopped.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from saltjax import api
from saltjax.errors import UserError
from saltjax.neurons.text import by_language
from saltjax.pocket.models import pocket_llm
from saltjax.train import metrics
from saltjax.train.neuronsets import MASKED, RANDOM, SPARSE, read_sets

SMALL = "steps=40 batch_size=16 seq_len=128 warmup_steps=4 learning_rate=3e-3 unroll=true".split()
SMALL += ["eval_every=0", "checkpoint_every=0"]


class Arm(NamedTuple):
    name: str
    file: str
    trainable: str


def arms(neurons: Path, language: str, draws: int) -> Iterator[Arm]:
    """What learns. The random draws of full-rank neurons say how much of a difference is luck."""
    yield Arm("its neurons, full-rank", "neurons", f"{SPARSE}{neurons}@{language}")
    for draw in range(draws):
        yield Arm(f"random neurons, draw {draw}", f"random{draw}", f"{SPARSE}{neurons}@{RANDOM}{language}:{draw}")
    yield Arm("adapters for its neurons", "lora-neurons", f"{MASKED}{neurons}@{language}")
    yield Arm("adapters for random neurons", "lora-random", f"{MASKED}{neurons}@{RANDOM}{language}")
    yield Arm("whole adapters", "lora", "lora")


def learned(arm: Arm, language: str, given: argparse.Namespace) -> dict:
    """{before, after: bits per byte by language}, from the run or from WORK."""
    kept = given.work / f"{language}.{arm.file}.json"
    if not kept.exists():
        run = given.work / "runs" / f"{language}.{arm.file}"
        settings = [*SMALL, "lora.targets=layers.mlp.*", f"trainable={arm.trainable}", *given.settings]
        text = by_language(given.text)[language]
        record = api.adapt(given.model, run, text=text, valid=given.valid, overrides=settings)
        if record["interrupted"]:
            sys.exit("interrupted; the same command goes on")
        before = metrics.read(run / "metrics.jsonl")[0]["bits_per_byte"]
        kept.write_text(json.dumps({"before": before, "after": record["valid"]}) + "\n", encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("neurons", type=Path, help="what `saltjax neurons find` wrote")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--model", default=str(pocket_llm()))
    parser.add_argument("--text", nargs="+", required=True, metavar="LANG=FILE")
    parser.add_argument("--valid", nargs="+", required=True, metavar="LANG=FILE")
    parser.add_argument("--draws", type=int, default=3, help="of random neurons")
    given = parser.parse_intermixed_args()
    given.work.mkdir(parents=True, exist_ok=True)
    try:
        table = "\n".join(lines(given))
    except UserError as error:
        sys.exit(f"error: {error}")
    (given.work / "results.md").write_text(table + "\n", encoding="utf-8")
    print(table)


def lines(given: argparse.Namespace) -> Iterator[str]:
    measured, sets = list(by_language(given.valid)), read_sets(given.neurons).neurons
    yield "| text | what learns | " + " | ".join(measured) + " |"
    yield "|---" * (2 + len(measured)) + "|"
    for number, language in enumerate(by_language(given.text)):
        for arm in arms(given.neurons, language, given.draws):
            found = learned(arm, language, given)
            if not number and arm.file == "neurons":
                yield "| | (before) | " + " | ".join(f"{found['before'][one]:.3f}" for one in measured) + " |"
            cells = (f"{found['after'][one] - found['before'][one]:+.4f}" for one in measured)
            what = f"{arm.name} ({sets[language].sum()})" if arm.file == "neurons" else arm.name
            yield f"| {language} | {what} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
