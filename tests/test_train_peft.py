"""Adapters in PEFT's files: what PEFT computes with them is our merged model."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import zoo
import zoo_decoders
from safetensors.numpy import load_file
from training import settings

from saltjax import api
from saltjax.errors import UserError
from saltjax.models.decoder import hidden_states, logits
from saltjax.models.export import export_tensors
from saltjax.models.load import load_model
from saltjax.train.lora import merged, with_adapters
from saltjax.train.peft import write_adapter
from saltjax.train.sharding import leaves, nested

LORA = ("trainable=lora", "lora.rank=3", "lora.alpha=6")


def adapted(path, family: str, *overrides: str):
    """(config, model, parameters with random adapters, the PyTorch model) of a directory with an adapter beside it."""
    torch_model = zoo_decoders.make(family, path / "model")
    model, config = load_model(path / "model"), settings(*LORA, *overrides)
    rng = np.random.default_rng(0)
    flat = dict(leaves(with_adapters(model.params, config)))
    params = nested(
        {
            name: rng.normal(size=x.shape).astype(np.float32) * 0.1 if name.startswith("lora.") else x
            for name, x in flat.items()
        }
    )
    (path / "adapter").mkdir()
    write_adapter(path / "adapter", model.config, params, model.dtypes, config.lora, str(path / "model"))
    return config, model, params, torch_model


@pytest.mark.parametrize(("family", "targets"), [("llama", "layers.*"), ("gpt2", "layers.mlp.*")])
def test_the_files_added_by_pefts_formula_are_the_merged_model(tmp_path, family, targets):
    """W + lora_alpha / r * B A for a Linear [out, in]; a Conv1D [in, out] takes the transpose (fan_in_fan_out)."""
    config, model, params, _ = adapted(tmp_path, family, f"lora.targets={targets}")
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    written = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    whole = dict(export_tensors(model.config, merged(params, config), model.dtypes))
    stored = dict(export_tensors(model.config, model.params, model.dtypes))
    changed = set()
    for name, weight in stored.items():
        key = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{key}.lora_A.weight" in adapter:
            a, b = adapter.pop(f"{key}.lora_A.weight"), adapter.pop(f"{key}.lora_B.weight")
            delta = written["lora_alpha"] / written["r"] * b @ a
            weight = weight + (delta.T if written["fan_in_fan_out"] else delta)
            assert name.removesuffix(".weight").endswith(tuple(f".{target}" for target in written["target_modules"]))
            changed.add(name)
        np.testing.assert_allclose(whole[name], weight, atol=1e-6, err_msg=name)
    assert not adapter and len(changed) == model.config.layers * (7 if family == "llama" else 2)


def test_parts_of_a_stored_tensor_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"c_attn.*several of our matrices"):
        adapted(tmp_path, "gpt2", "lora.targets=layers.attn.q")


def test_peft_itself_agrees(tmp_path):
    peft = pytest.importorskip("peft")
    config, model, params, torch_model = adapted(tmp_path, "llama")
    tokens = np.random.default_rng(1).integers(0, model.config.vocab_size, (2, 9))
    with torch.no_grad():
        theirs = peft.PeftModel.from_pretrained(torch_model, tmp_path / "adapter")(torch.tensor(tokens)).logits.numpy()
    whole = merged(params, config)
    places, ones = jnp.broadcast_to(jnp.arange(9), (2, 9)), jnp.ones((2, 9), jnp.int32)
    hidden = hidden_states(model.graphdef, whole, jnp.asarray(tokens, jnp.int32), places, ones)
    np.testing.assert_allclose(logits(model.config, whole, hidden), theirs, atol=1e-4)


def test_a_run_of_adapters_is_exported_whole_or_alone(tmp_path):
    zoo.llama(tmp_path / "llm", dtype="float32")
    (tmp_path / "de.txt").write_text("\n".join(zoo.sentences("de")) + "\n", encoding="utf-8")
    text = {"text": [tmp_path / "de.txt"], "valid": [f"de={tmp_path / 'de.txt'}"]}
    run = [
        "steps=2",
        "seq_len=48",
        "batch_size=8",
        "warmup_steps=0",
        "learning_rate=1e-2",
        "log_every=1",
        "eval_every=1",
    ]
    trained = api.adapt(tmp_path / "llm", tmp_path / "run", **text, overrides=[*run, *LORA])
    exported = api.export(tmp_path / "run", tmp_path / "out")
    assert exported["max_abs_logit_difference"] < 1e-3
    found = api.evaluate(tmp_path / "out", ["bpb"], text=[tmp_path / "de.txt"], seq_len=48)["results"]["bpb"]
    assert found["bits_per_byte"] == pytest.approx(trained["valid"]["de"], rel=1e-5)
    api.export(tmp_path / "run", tmp_path / "adapter", adapter=True)
    assert {file.name for file in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    before = load_model(tmp_path / "llm").params
    after = load_model(tmp_path / "out").params
    moved = {path for path, x in leaves(before) if not jnp.array_equal(x, dict(leaves(after))[path])}
    assert moved == {path for path in moved if path.startswith(("layers.attn.", "layers.mlp."))} and len(moved) == 7

    other = ["steps=0", "trainable=embeddings+lora"]
    api.adapt(tmp_path / "llm", tmp_path / "both", **text, overrides=[*run, *LORA, *other])
    with pytest.raises(UserError, match="adapters are not all that this run trained"):
        api.export(tmp_path / "both", tmp_path / "no", adapter=True)
    assert not (tmp_path / "no").exists()
