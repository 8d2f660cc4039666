import dataclasses
from pathlib import Path

import pytest

from saltjax.errors import UserError
from saltjax.train.config import AdaptConfig, MeshConfig, from_flat, read_config, to_flat, to_yaml

CONFIGS = Path(__file__).parent.parent / "configs"


def test_file_then_overrides(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("steps: 50\nlearning_rate: 1e-3\nmesh:\n  tensor: 2\nseed: 7\n")
    config = read_config(file, ["learning_rate=1e-4", "mesh.fsdp=4", "trainable=layers:0,1,-1", "batch_size=1e2"])
    assert config == AdaptConfig(
        steps=50, learning_rate=1e-4, batch_size=100, seed=7, trainable="layers:0,1,-1", mesh=MeshConfig(1, 4, 2)
    )
    assert isinstance(config.batch_size, int)


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.e-4", ".1e-3", "0.0001", "1.0e-4"])
def test_small_numbers_are_numbers(text):
    assert read_config(None, [f"learning_rate={text}"]).learning_rate == 1e-4


def test_yaml_and_flat_round_trip(tmp_path):
    config = AdaptConfig(learning_rate=3e-5, trainable="embeddings", unroll=True, mesh=MeshConfig(2, -1, 2))
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    assert read_config(tmp_path / "c.yaml") == config
    assert from_flat(to_flat(config)) == config


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("learning_rates=1", "'learning_rate'"),
        ("mesh.fdsp=1", "'mesh.fsdp'"),
        ("fsdp=1", "'mesh.fsdp'"),
        ("mesh=1", "'mesh"),
        ("learning_rate=fast", "learning_rate='fast' is not a number"),
        ("learning_rate=", "learning_rate=None is not a number"),
        ("learning_rate=.nan", "is not a number"),
        ("steps=yes", "steps=True is not a number"),
        ("steps=1.5", "not a whole number"),
        ("steps=-1", "at least 0"),
        ("seq_len=1", "at least 2"),
        ("beta2=1", "below 1"),
        ("mesh.data=0", "at least 1, or -1"),
        ("compute_dtype=float16", "float32, bfloat16"),
        ("remat=all", "none, block, dots"),
        ("unroll=1", "unroll=1 is neither true nor false"),
        ("trainable=[1, 2]", "not a text"),
        ("steps", "key=value"),
        ("accumulate=3", "must divide batch_size=32"),
        ("decay_steps=5", "belongs to schedule=wsd"),
        ("optimizer=sgd", "adamw, adafactor, lion, muon"),
    ],
)
def test_mistakes_are_named(override, says):
    with pytest.raises(UserError, match=r"^[^\n]*$") as error:
        read_config(None, [override])
    assert says in str(error.value)


def test_mistakes_in_a_file_name_it(tmp_path):
    file = tmp_path / "c.yaml"
    for content in ("stepps: 3\n", "- 3\n", "steps: {a: 1}\n", "a: [\n", "steps: 1\nsteps: 2\n"):
        file.write_text(content)
        with pytest.raises(UserError, match=r"c\.yaml"):
            read_config(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"c\.yaml"):
        read_config(file)
    with pytest.raises(UserError, match="check the path"):
        read_config(tmp_path / "none.yaml")
    file.write_text("")
    assert read_config(file) == AdaptConfig()


def test_shipped_configs_are_valid_and_the_default_one_is_complete():
    files = sorted(file for file in CONFIGS.glob("*.yaml") if not file.name.startswith("study-"))
    assert files
    for file in files:
        read_config(file)
        header = file.read_text().split("\n\n")[0]
        assert "saltjax adapt" in header or "saltjax finetune" in header, f"{file.name} has no command in its header"
    assert read_config(CONFIGS / "adapt.yaml") == AdaptConfig()
    text = (CONFIGS / "adapt.yaml").read_text()
    assert all(f"{field.name}:" in text for field in dataclasses.fields(AdaptConfig))
