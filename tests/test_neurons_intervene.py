"""Neurons held at values: the changed weights against PyTorch's forward pass with the activations overwritten."""

import json
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
import zoo_decoders
from neuronal import LANGUAGES, files, windows
from transformers import AutoModelForCausalLM, AutoTokenizer

from saltjax.errors import UserError
from saltjax.models import hidden_states, load_model, logits
from saltjax.models.generation import generate
from saltjax.neurons.files import Known, read_neurons, write_neurons, write_statistics
from saltjax.neurons.intervene import values
from saltjax.neurons.state import model_fingerprint
from saltjax.neurons.statistics import Statistics
from saltjax.neurons.surgery import held, with_biases
from saltjax.train.config import MeshConfig
from saltjax.train.mesh import make_mesh
from saltjax.train.sharding import param_shardings

torch = pytest.importorskip("torch")


def overwrite(layer, point, neurons, numbers, names):
    """Hooks on one layer of PyTorch's that set these neurons."""
    act, down = (layer.get_submodule(name) for name in names)
    where, number = torch.from_numpy(neurons), torch.from_numpy(numbers)

    def set_in(_, args):
        return (torch.where(where, number, args[0]),)

    def set_out(_, args, out):
        return torch.where(where, number, out)

    if point == "post":
        return act.register_forward_hook(set_out)
    return (act if point == "pre" else down).register_forward_pre_hook(set_in)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_the_changed_weights_are_the_hooks(tmp_path, name):
    reference = zoo_decoders.make(name, tmp_path / "m")
    model = load_model(tmp_path / "m")
    rng = np.random.default_rng(0)
    shape = (model.config.layers, model.config.mlp_size)
    neurons, numbers = rng.random(shape) < 0.3, rng.normal(0, 1.5, shape).astype(np.float32)
    tokens = rng.integers(10, zoo_decoders.VOCAB, (2, 9)).astype(np.int32)
    places = np.broadcast_to(np.arange(9, dtype=np.int32), (2, 9)), np.ones((2, 9), np.int32)
    names = ("mlp.act", "mlp.c_proj") if name == "gpt2" else ("mlp.act_fn", "mlp.down_proj")
    layers = reference.transformer.h if name == "gpt2" else reference.model.layers
    biased = with_biases(model)

    inputs = [jnp.asarray(x) for x in (tokens, *places)]

    @jax.jit
    def scores(params):
        return logits(biased.config, params, hidden_states(biased.graphdef, params, *inputs))

    def theirs():
        with torch.no_grad():
            return reference(torch.from_numpy(tokens).long(), use_cache=False).logits.numpy()

    plain = theirs()
    assert np.abs(np.asarray(scores(biased.params)) - plain).max() < 1e-4
    for point in ("pre", "post", "product"):
        hooks = [overwrite(layer, point, *own, names) for *own, layer in zip(neurons, numbers, layers, strict=True)]
        expected = theirs()
        for hook in hooks:
            hook.remove()
        found = np.asarray(scores(held(biased, neurons, numbers, point).params))
        assert np.abs(expected - plain).max() > 0.05
        assert np.abs(found - expected).max() < 2e-4, point


def test_what_is_written_is_what_the_hooked_model_writes(tmp_path):
    reference = zoo_decoders.make("llama", tmp_path / "m")
    model, rng = load_model(tmp_path / "m"), np.random.default_rng(2)
    shape = (model.config.layers, model.config.mlp_size)
    neurons, numbers = rng.random(shape) < 0.3, rng.normal(0, 1.5, shape).astype(np.float32)
    prompt = rng.integers(10, zoo_decoders.VOCAB, 7).tolist()

    def theirs():
        written = reference.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False, eos_token_id=None)
        return written[0, len(prompt) :].tolist()

    plain = theirs()
    for *own, layer in zip(neurons, numbers, reference.model.layers, strict=True):
        overwrite(layer, "post", *own, ("mlp.act_fn", "mlp.down_proj"))
    assert generate(held(with_biases(model), neurons, numbers, "post"), [prompt], 8) == [theirs()] != [plain]


def test_a_model_on_a_mesh_is_held_too(tmp_path):
    zoo_decoders.make("llama", tmp_path / "m")
    mesh = make_mesh(MeshConfig(1, 2, 2))
    models = [load_model(tmp_path / "m"), load_model(tmp_path / "m", lambda abstract: param_shardings(abstract, mesh))]
    neurons = np.random.default_rng(0).random((3, 46)) < 0.5
    found = [held(with_biases(model), neurons, np.full((3, 46), 0.5, np.float32), "product") for model in models]
    for one, other in zip(*(jax.tree.leaves(model.params) for model in found), strict=True):
        assert np.allclose(one, other, atol=1e-6)


def test_what_neurons_are_held_at(tmp_path):
    shape = (2, 3)
    stored = {name: np.full(shape, i, np.float32) for i, name in enumerate(("mean", "p5", "p90"))}
    known = Known("lape", "post", "sha", {"de": np.ones(shape, bool)}, {"de": stored})
    for how, number in (("zero", 0), ("mean", 0), ("p5", 1), ("p90", 2), ("-1.5", -1.5)):
        assert (values(known, "de", how) == number).all() and values(known, "de", how).shape == shape
    for how in ("median", "nan", "inf"):
        with pytest.raises(UserError, match=f"--values {how} is not known; there are zero, mean, p5"):
            values(known, "de", how)
    neurons = np.random.default_rng(0).random((2, 2, 3)) < 0.5
    write_neurons(tmp_path, "lape", "pre", ["a", "b"], neurons, {})
    with pytest.raises(UserError, match=r"stats.safetensors: missing"):
        read_neurons(tmp_path)
    one = Statistics.none(np.zeros((2, 2, 3), np.float32), 7)
    one = replace(one, tokens=5, batches=2, quantiles=np.arange(42.0).reshape(2, 7, 3))
    write_statistics(tmp_path, {"a": one, "b": one}, {"percentiles": "batches", "model_sha256": "sha"})
    assert (read_neurons(tmp_path).values["b"]["p90"] == one.quantiles[:, 5] / 2).all()
    record = json.loads((tmp_path / "neurons.json").read_text())
    assert record["sizes"] == [3, 3] and record["languages"]["a"]["1"] == np.flatnonzero(neurons[0, 1]).tolist()


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    path = tmp_path_factory.mktemp("intervene")
    zoo.llama(path / "m", dtype="float32", initializer_range=0.3)
    (path / "sets").mkdir()
    return path, [f"{language}={file}" for language, file in files(path, 12).items()]


@pytest.fixture
def home(room):
    return room[0] / "home"


def perplexity(directory, path, seen):
    """PyTorch's, over the windows of the definition, with hooks that `seen(layers)` registers."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    seen(model.model.layers)
    tokenizer, nats, count = AutoTokenizer.from_pretrained(directory), 0.0, 0
    for window in windows(tokenizer, path):
        with torch.no_grad():
            scores = model(torch.tensor([window])).logits[0].log_softmax(-1)
        nats -= sum(scores[i - 1, window[i]].item() for i in range(1, len(window)))
        count += len(window) - 1
    return math.exp(nats / count)


def test_find_and_intervene(room, saltjax):
    path, text = room
    find = ("neurons", "find", path / "m", path / "n", "--text", *text, "--seq-len", 16, "--rate", 0.2, "--json")
    status, out, err = saltjax(*find)
    assert status == 0, err
    record = json.loads(out)
    assert set(record["neurons"]) == set(LANGUAGES) and "windows" in err
    assert record["trainable"]["vi"] == f"neurons:{path / 'n'}@vi"
    provenance = json.loads((path / "n" / "neurons.json").read_text())["provenance"]
    assert provenance["model_sha256"] == read_neurons(path / "n").model_sha256
    assert {file.name for file in (path / "n").iterdir()} == {
        "neurons.json", "stats.safetensors", "layers.png", "overlap.png",
    }  # fmt: skip
    known = read_neurons(path / "n")
    assert {language: int(own.sum()) for language, own in known.neurons.items()} == record["neurons"]
    status, out, err = saltjax(*find, "--overwrite", "--point", "product", "--method", "act-prob-90p-pooled")
    assert status == 0 and json.loads(out)["method"] == "act-prob-90p-pooled", err
    known = read_neurons(path / "n")
    assert known.point == "product"

    intervene = ("neurons", "intervene", path / "m", path / "n", "ppl", "--text", *text, "--seq-len", 16)
    status, out, err = saltjax(*intervene, "--values", "p90", "--controls", 2, "--out", path / "i", "--json")
    assert status == 0, err
    ppl = json.loads(out)["ppl"]
    assert json.loads(out)["found_here"]
    assert {file.name for file in (path / "i").iterdir()} == {"interventions.json", "ppl.png"}
    file = files(path, 12)["vi"]

    def hooks(layers):
        for number, layer in enumerate(layers):
            where = known.neurons["de"][number], known.values["de"]["p90"][number]
            overwrite(layer, "product", *where, ("mlp.act_fn", "mlp.down_proj"))

    assert ppl["plain"]["vi"] == pytest.approx(perplexity(path / "m", file, lambda layers: None), rel=1e-4)
    assert ppl["held"]["de"]["vi"] == pytest.approx(perplexity(path / "m", file, hooks), rel=1e-4)
    assert ppl["change"]["de"]["vi"] == pytest.approx(ppl["held"]["de"]["vi"] - ppl["plain"]["vi"])
    assert ppl["control"]["de"]["vi"] not in (ppl["held"]["de"]["vi"], ppl["plain"]["vi"])


def test_a_task_is_answered_by_the_changed_model(room, saltjax):
    """Here another model than the one that the neurons were found in, as a fine-tuned one would be."""
    path, text = room
    zoo.llama(path / "tuned", dtype="float32", initializer_range=0.3, seed=1)
    zoo.llama(path / "wide", intermediate_size=52)
    folder = path / "sets" / "xcopa"
    folder.mkdir(exist_ok=True)
    rows = [
        {"premise": f"premise {i}", "choice1": "one thing", "choice2": "another thing", "question": "cause", "label": 0,
         "idx": i, "changed": False} for i in range(4)
    ]  # fmt: skip
    (folder / "test.vi.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (folder / "val.vi.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    status, _, err = saltjax(
        "neurons", "find", path / "m", path / "n2", "--text", *text, "--seq-len", 16, "--rate", 0.3
    )
    assert status == 0, err
    status, out, err = saltjax(
        "neurons",
        "intervene",
        path / "tuned",
        path / "n2",
        "xcopa:vi",
        "--data",
        path / "sets",
        "--values",
        5,
        "--seq-len",
        6,
        "--json",
    )
    assert status == 0 and not json.loads(out)["found_here"] and "were found in another model" in err, err
    assert "xcopa:vi: 8 prompts are longer than the positions and lost their beginning" in err
    task = json.loads(out)["tasks"]["xcopa:vi"]
    assert task["plain"]["n"] == task["held"]["n"] == 4 and len(task["controls"]) == 1
    status, _, err = saltjax("neurons", "intervene", path / "wide", path / "n2", "xcopa:vi", "--data", path / "sets")
    assert status == 2 and "2 layers of 48 neurons, but the model has 2 of 52" in err


def test_mistakes(room, saltjax):
    path, text = room
    first = f"en={files(path, 12)['en']}"
    (path / "n3").mkdir()
    none, whose = Statistics.none(np.zeros((2, 1, 48), np.float32)), {"model_sha256": model_fingerprint(path / "m")}
    write_neurons(path / "n3", "lape", "post", ["de"], np.ones((1, 2, 48), bool), whose)
    write_statistics(path / "n3", {"de": replace(none, tokens=1)}, whose)
    held_here = ("intervene", path / "m", path / "n3", "ppl", "--text", *text)
    for arguments, message in [
        (("find", path / "m", path / "x"), "give text by language: --text LANG=FILE"),
        (("find", path / "m", path / "x", "--text", first), "--method lape compares languages"),
        (("find", path / "m", path / "x", "--text", *text, "--method", "no"), "--method no is not known"),
        (("find", path / "m", path / "x", "--text", *text, "--point", "no"), "--point no is not known"),
        (("find", path / "m", path / "x", "--text", first, "de=/none.txt"), "/none.txt"),
        (("intervene", path / "m", path / "none", "ppl", "--text", *text), "neurons.json: missing"),
        (("intervene", path / "m", path / "none", "ppl"), "neurons.json: missing"),
        (("find", path / "m", path / "x", "--text", *text, "--seq-len", 0), "seq_len=0 leaves no room after BOS"),
        ((*held_here, "--seq-len", 0), "--seq-len 0: from 2 to the"),
        ((*held_here, "--batch-size", 0), "--batch-size 0 at least 1"),
        ((*held_here, "--seed", -1), "--seed -1 must be 0 or more"),
    ]:
        status, _, err = saltjax("neurons", *arguments)
        assert status == 2 and message in err and "Traceback" not in err and len(err.strip().split("\n")) == 1, err
        assert not (path / "x").exists()
