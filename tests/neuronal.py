"""For the tests of neurons and layers: text in three languages, a pass over it, and every activation by PyTorch."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from transformers import AutoTokenizer

from saltjax.models.load import load_model
from saltjax.neurons.collect import Pass
from saltjax.neurons.text import texts
from saltjax.train.config import MeshConfig
from saltjax.train.mesh import make_mesh
from saltjax.train.sharding import param_shardings

torch = pytest.importorskip("torch")

LANGUAGES = ("en", "de", "vi")
SEQ_LEN, ROWS = 16, 8


def files(folder: Path, lines: int = 16) -> dict[str, Path]:
    """A file of each language, with an empty line and a document of several windows."""
    found = {}
    for language in LANGUAGES:
        own = list(zoo.sentences(language, 400)[:lines])
        own[3:3] = ["", " ".join(own[:8])]
        found[language] = folder / f"{language}.txt"
        found[language].write_text("\n".join(own) + "\n", encoding="utf-8")
    return found


def prepared(directory, folder, point="post", mesh=None, tokens=None):
    """(Pass, {language: Text})"""
    mesh = mesh or make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    model = load_model(directory, lambda abstract: param_shardings(abstract, mesh), pad_vocab_to=8)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    values = [f"{language}={path}" for language, path in files(folder).items()]
    found = texts(values, tokenizer, SEQ_LEN, folder / "tokens", tokens)
    return Pass(model, "sha", mesh, point, jnp.float32, ROWS, folder / "states"), found


def windows(tokenizer, path):
    """The definition: each line's tokens in windows of SEQ_LEN - 1, each behind a BOS."""
    for line in path.read_text(encoding="utf-8").split("\n"):
        ids = tokenizer(line, add_special_tokens=False).input_ids if line else []
        for start in range(0, len(ids), SEQ_LEN - 1):
            yield [tokenizer.bos_token_id, *ids[start : start + SEQ_LEN - 1]]


def activations(directory, path):
    """{point: [L, tokens, f]} of a Llama, in float32, without the BOS of each window."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    caught = {point: [[] for _ in model.model.layers] for point in ("pre", "post", "product")}
    for number, layer in enumerate(model.model.layers):
        act, down = layer.mlp.act_fn, layer.mlp.down_proj
        act.register_forward_pre_hook(lambda _, args, n=number: caught["pre"][n].append(args[0][0, 1:]))
        act.register_forward_hook(lambda _, args, out, n=number: caught["post"][n].append(out[0, 1:]))
        down.register_forward_pre_hook(lambda _, args, n=number: caught["product"][n].append(args[0][0, 1:]))
    with torch.no_grad():
        for window in windows(tokenizer, path):
            model(torch.tensor([window]))
    return {point: np.stack([torch.cat(own).numpy() for own in layers]) for point, layers in caught.items()}
