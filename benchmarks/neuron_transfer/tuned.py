"""The arms: what of the model learns the English task. Each is a fine-tuning run and the model that it gives."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from saltjax import api

UNTRAINED, LORA = "untrained", "lora"


class Arm(NamedTuple):
    """`of` is the language whose neurons learn, or "" where the arm is the same for all."""

    name: str
    trainable: str
    targets: str = ""
    of: str = ""

    @property
    def file(self) -> str:
        return f"{self.name}.{self.of}" if self.of else self.name


def arms(neurons: Path, languages: Sequence[str], attention: str) -> list[Arm]:
    """Full LoRA of gate and attention; LoRA of the attention alone, which all masked arms have too; the gate's LoRA
    for a language's neurons and for as many random ones, as in the paper; and these neurons full-rank, nothing else."""
    both = f"layers.mlp.gate+{attention}"
    found = [Arm(LORA, "lora", both), Arm("attention", "lora", attention)]
    for language in languages:
        own, other = f"{neurons}@{language}", f"{neurons}@random:{language}"
        found += [
            Arm("neurons", f"lora:{own}", both, language),
            Arm("random", f"lora:{other}", both, language),
            Arm("full-rank", f"neurons:{own}", "", language),
            Arm("random-full-rank", f"neurons:{other}", "", language),
        ]
    return found


def trained(arm: Arm, model: str | Path, data: Path, work: Path, config: Path | None, settings: Sequence[str]) -> Path:
    """The model of an arm; what is there already is not trained again, and an interrupted run goes on."""
    out = work / "models" / arm.file
    if out.exists():
        return out
    run = work / "runs" / arm.file
    own = [f"trainable={arm.trainable}", "template=verbatim", *settings]
    own += [f"lora.targets={arm.targets}"] if arm.targets else []
    if api.finetune(model, run, data=[data], config=config, overrides=own)["interrupted"]:
        sys.exit("interrupted; the same command goes on")
    api.export(run, out)
    shutil.rmtree(run / "checkpoints")
    return out
