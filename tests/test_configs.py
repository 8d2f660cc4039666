"""The recipes in configs/ are read by the program itself, and fit the devices and the models that they are for."""

import math
import re
from pathlib import Path

import pytest
import training

from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import abstract_model
from saltjax.train.config import read_config
from saltjax.train.lora import with_adapters
from saltjax.train.stages import spec_at
from saltjax.train.trainable import trainable

CONFIGS = Path(__file__).parents[1] / "configs"
DEVICES = {"gemma-2b-german": 16, "llama-3.2-1b-vietnamese": 16, "llama-8b-v5e-16": 16, "llama-8b-v5p-8": 4}
DEVICES |= {"llama-8b-8xh100": 8, "low-resource": 1, "pocket": 1, "adapt": 1}
DEVICES |= {"slam": 8, "qalign": 8, "finetune-full": 8, "finetune-lora": 8}
DEVICES |= {"neurons-xnli": 1, "neurons-xquad": 1}


def test_every_recipe_is_known_here():
    recipes = {path.stem for path in CONFIGS.glob("*.yaml")}
    assert {name for name in recipes if not name.startswith("study-")} == set(DEVICES)


@pytest.mark.parametrize("name", DEVICES)
def test_a_recipe_fits_its_devices_and_names_itself(name):
    path = CONFIGS / f"{name}.yaml"
    settings = read_config(path)
    sizes = (settings.mesh.data, settings.mesh.fsdp, settings.mesh.tensor)
    rest = DEVICES[name] // math.prod(size for size in sizes if size > 0)
    data, fsdp, tensor = (rest if size < 0 else size for size in sizes)
    assert data * fsdp * tensor == DEVICES[name]
    assert settings.batch_size % (data * fsdp * settings.accumulate) == 0
    assert settings.warmup_steps < settings.steps
    for spec in settings.specs:  # what learns exists in a model
        trainable(with_adapters(abstract_model(DecoderConfig(**training.SIZES | {"layers": 6}))[1], settings), spec)
    text = path.read_text(encoding="utf-8")
    assert f"configs/{name}.yaml" in text


@pytest.mark.parametrize("name", DEVICES)
def test_the_tokens_that_a_recipe_states_are_its_product(name):
    """`5,000 steps x 32 sequences x 2,048 = 330 million`"""
    settings = read_config(CONFIGS / f"{name}.yaml")
    text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").replace("\n#", "")
    said = re.search(r"([\d,]+)\s+steps x (\d+) sequences x ([\d,]+)(?: tokens)? = ([\d.]+)\s+million", text)
    if said is None:
        assert name in ("adapt", "low-resource") or settings.epochs
        return
    steps, rows, length, millions = (float(number.replace(",", "")) for number in said.groups())
    assert (steps, rows, length) == (settings.steps, settings.batch_size, settings.seq_len)
    assert settings.steps * settings.batch_size * settings.seq_len / 1e6 == pytest.approx(millions, rel=0.02)


def test_low_resource_trains_the_outer_layers_only():
    settings = read_config(CONFIGS / "low-resource.yaml")
    params = abstract_model(DecoderConfig(**training.SIZES | {"layers": 6}))[1]
    mask = trainable(params, spec_at(settings.phases, settings.trainable, 0))
    assert mask["layers.mlp.up"] == (0, 1, 4, 5) and mask["embed.table"] is True and mask["norm.scale"] is False
