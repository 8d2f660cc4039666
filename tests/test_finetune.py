"""finetune as a whole: the loss on answers against PyTorch, a run that resumes, the command, mistakes."""

import json
import math
import shutil
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from talks import CHATML, TALK, written

from saltjax import api
from saltjax.cli import main
from saltjax.cli.arguments import one_value_each
from saltjax.data.examples import ExampleFile
from saltjax.data.examplewindows import ExampleWindows
from saltjax.data.template import Template
from saltjax.data.tokens import tokenized
from saltjax.errors import UserError
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.models.load import load_model
from saltjax.train.config import MeshConfig, read_config
from saltjax.train.forward import decoder_forward
from saltjax.train.mesh import make_mesh
from saltjax.train.meter import SPEED
from saltjax.train.step import global_batch, make_step, start
from saltjax.train.trainable import trainable

SETTINGS = (
    "batch_size=4 seq_len=96 learning_rate=1e-2 warmup_steps=1 log_every=1 checkpoint_every=3 eval_every=2".split()
)
SETTINGS += ["mesh.fsdp=1"]


def pairs(language, first, last):
    """Sentences to be completed from their first words."""
    for text in zoo.sentences(language)[first:last]:
        head, _, tail = text.partition(" ")
        yield {"prompt": head, "completion": tail}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    path = tmp_path_factory.mktemp("finetune")
    zoo.llama(path / "llm", dtype="float32")
    zoo.llama(path / "chat", dtype="float32", chat_template=CHATML)
    for language in ("de", "en"):
        written(path / f"{language}.jsonl", *pairs(language, 0, 40))
        written(path / f"{language}.valid.jsonl", *pairs(language, 40, 48))
    return path


def of(room, *more):
    return [*SETTINGS, f"cache={room / 'cache'}", *more]


def torchs(model, tokenizer, conversations):
    """Mean loss over the tokens of all answers, and its gradient, in float64: each conversation alone, unpacked."""
    import torch

    total, number = 0.0, 0
    model.zero_grad()
    for talk in conversations:
        answers = [n for n, turn in enumerate(talk) if turn["role"] == "assistant"]
        ids = tokenizer.apply_chat_template(talk, tokenize=True, return_dict=False)
        labels = [-100] * len(ids)
        for n in answers:
            start = len(tokenizer.apply_chat_template(talk[:n], add_generation_prompt=True, return_dict=False))
            end = start + len(tokenizer.encode(talk[n]["content"], add_special_tokens=False)) + 1
            assert tokenizer.decode(ids[end - 1]) == "<|eot_id|>"
            labels[start:end] = ids[start:end]
        out = model(torch.tensor([ids]), labels=torch.tensor([labels]))
        count = sum(label >= 0 for label in labels)
        (out.loss * count).backward()
        total, number = total + float(out.loss.detach()) * count, number + count
    gradients = {name: p.grad.numpy() / number for name, p in model.named_parameters()}
    return total / number, number, gradients


@pytest.mark.parametrize(("mesh", "parts"), [((1, 1, 1), 1), ((1, 2, 1), 2)])
def test_loss_and_gradient_of_packed_examples_are_pytorchs_of_each_alone(room, tmp_path, mesh, parts):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(room / "chat")
    talks = [TALK, TALK[1:3], *([{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a, b in QA)]
    reference = AutoModelForCausalLM.from_pretrained(room / "chat", dtype=torch.float64)
    loss, number, gradients = torchs(reference, tokenizer, talks)

    path = written(tmp_path / "a.jsonl", *({"messages": talk} for talk in talks))
    store = tokenized([ExampleFile(path)], tokenizer, tmp_path / "cache", template=Template(tokenizer))
    windows = ExampleWindows(store, 96)
    rows = -(-len(windows) // 4) * 4  # windows of padding alone beside them
    batch = {name: np.zeros((rows, 96), np.int32) for name in windows.names}
    for row in range(len(windows)):
        windows.write(row, *(array[row] for array in batch.values()))
    assert batch["segments"].max() > 1

    config = read_config(None, [*SETTINGS, f"batch_size={rows}", f"accumulate={parts}", "beta1=0", "clip_norm=0"])
    model, on = load_model(room / "chat"), make_mesh(MeshConfig(*mesh))
    mask = trainable(model.params, "full")
    state = start(model.params, mask, config, on)
    state, metrics = make_step(decoder_forward(model, jnp.float32), mask, config, on, state)(
        state, global_batch(batch, on)
    )
    assert metrics["tokens"] == number
    assert float(metrics["loss"]) == pytest.approx(loss, rel=1e-5)
    down = np.stack([gradients[f"model.layers.{layer}.mlp.down_proj.weight"].T for layer in range(2)])
    ours = {path: np.asarray(state.opt_state[path][0].mu) for path in ("embed.table", "layers.mlp.down", "head.table")}
    for name, wanted in (
        ("embed.table", gradients["model.embed_tokens.weight"]),
        ("head.table", gradients["lm_head.weight"]),
        ("layers.mlp.down", down),
    ):
        np.testing.assert_allclose(ours[name][: len(wanted)], wanted, atol=1e-6 * np.abs(wanted).max(), rtol=2e-4)


def test_a_run_is_not_resumed_with_another_model_under_the_same_name(room, tmp_path):
    model = tmp_path / "llm"
    shutil.copytree(room / "llm", model)

    def go(steps):
        return api.finetune(model, tmp_path / "run", data=[room / "de.jsonl"], overrides=of(room, f"steps={steps}"))

    go(0)
    before = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(UserError, match=r"run: .*llm is another model than this run was made from"):
        go(1)
    (model / "model.safetensors").write_bytes(before)
    assert go(1)["steps"] == 1
    shutil.rmtree(model)  # its checkpoint has all numbers
    assert go(2)["steps"] == 2


QA = [("What is blue?", "The sky."), ("Who came?", "A fox and two birds came."), ("Why?", "Nobody knows it.")]


def clockless(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().split("\n") if line]
    return [{k: v for k, v in line.items() if k not in (*SPEED, "seconds")} for line in lines]


def test_a_run_on_a_mixture_is_measured_exported_and_resumed_exactly(room, capfd):
    arguments = {"data": [f"de={room}/de.jsonl", f"{room}/en.jsonl=0.25"], "valid": [f"de={room}/de.valid.jsonl"]}
    settings = of(room, "steps=6", "keep_best=de")
    record = api.finetune(room / "llm", room / "a", **arguments, overrides=settings)
    err = capfd.readouterr().err
    assert "de: 40 examples" in err and "75.0% of the tokens" in err and "of them to learn" in err
    de, en = record["data"]["sources"]
    assert (de["name"], de["share"], en["name"], en["share"]) == ("de", 0.75, "en", 0.25)
    assert de["too_long"] == 0 and 0 < de["answer_tokens"] < de["tokens"]
    lines = clockless(room / "a")
    curve = [line["bits_per_byte"]["de"] for line in lines if "bits_per_byte" in line]
    assert len(curve) == 4 and curve[-1] < curve[0]

    shutil.copytree(room / "a", room / "killed")
    for step in (room / "killed" / "checkpoints").iterdir():
        if step.name.isdigit() and int(step.name) > 3:
            shutil.rmtree(step)
    again = api.finetune(room / "llm", room / "killed", **arguments, overrides=settings)
    assert clockless(room / "killed") == lines
    assert again["loss"] == record["loss"] and again["valid"] == record["valid"] and again["data"] == record["data"]
    with pytest.raises(UserError, match="this run has template=auto"):
        api.finetune(room / "llm", room / "a", **arguments, overrides=[*settings, "template=plain"])

    exported = api.export(room / "a", room / "out", step="best")
    assert exported["max_abs_logit_difference"] < 1e-4
    assert_scores_are_torchs(room, record)


def assert_scores_are_torchs(room, record):
    """The exported model's loss on the held-out answers, asked as its chat template asks."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    api.export(room / "a", room / "last")
    tokenizer = AutoTokenizer.from_pretrained(room / "last")
    model = AutoModelForCausalLM.from_pretrained(room / "last", dtype=torch.float64)
    nats, number, size = 0.0, 0, 0
    for line in (room / "de.valid.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        ask = [{"role": "user", "content": row["prompt"]}]
        prompt = tokenizer.apply_chat_template(ask, add_generation_prompt=True, tokenize=False)
        assert prompt == f"<|begin_of_text|>Human: {row['prompt']}\nAssistant:"
        before = tokenizer.encode(prompt, add_special_tokens=False)
        ids = tokenizer.encode(f"{prompt} {row['completion']}<|end_of_text|>", add_special_tokens=False)
        with torch.no_grad():
            scores = torch.log_softmax(model(torch.tensor([ids])).logits[0, len(before) - 1 : -1], -1)
        nats -= float(scores[range(len(scores)), ids[len(before) :]].sum())
        number, size = number + len(scores), size + len(row["completion"].encode())
    assert record["valid"]["de"] == pytest.approx(nats / math.log(2) / size, rel=1e-5)
    assert record["valid_loss"]["de"] == pytest.approx(nats / number, rel=1e-5)


def test_epochs_become_steps_and_adapters_learn_answers_too(room, capfd):
    data = [room / "de.jsonl", room / "en.jsonl"]
    record = api.finetune(
        room / "chat", room / "lora", data=data, overrides=of(room, "epochs=2", "trainable=lora", "lora.rank=2")
    )
    windows = record["data"]["windows"]
    assert record["steps"] == math.ceil(2 * windows / 4)
    assert f"epochs=2: {record['steps']} steps of 4 of {windows} windows" in capfd.readouterr().err
    for one in record["data"]["sources"]:  # but for what fills the last batch
        assert 2 <= one["epochs"] < 2 + 5 / windows
    assert api.export(room / "lora", room / "merged")["max_abs_logit_difference"] < 1e-4
    assert (room / "merged" / "chat_template.jinja").read_text() == CHATML

    file = room / "c.yaml"
    file.write_text("epochs: 3\n")
    assert read_config(file, ["steps=0"]).epochs == 0 and read_config(file).epochs == 3
    with pytest.raises(UserError, match="steps=5 and epochs=2: give one of them"):
        read_config(None, ["steps=5", "epochs=2"])


def test_words_of_the_command(monkeypatch, capfd, room):
    words = (
        "finetune m r --data de=a.jsonl vi=b.jsonl.zst c.jsonl=0.2 epochs=2 --valid x=v.jsonl y=w.jsonl trainable=lora"
    )
    assert one_value_each(words.split()) == (
        "finetune m r --data de=a.jsonl --data vi=b.jsonl.zst --data c.jsonl=0.2 epochs=2 "
        "--valid x=v.jsonl --valid y=w.jsonl trainable=lora".split()
    )

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["saltjax", "finetune", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, *capfd.readouterr()

    status, out, _ = run(
        room / "llm", room / "b", "--data", f"de={room}/de.jsonl", "--valid", room / "de.valid.jsonl",
        *of(room, "steps=1"), "--json",
    )  # fmt: skip
    record = json.loads(out)
    assert status == 0 and record["steps"] == 1 and set(record["valid_loss"]) == {"de.valid"}

    for name in ("JAX_PLATFORMS", "JAX_ENABLE_COMPILATION_CACHE"):
        monkeypatch.setenv(name, "")  # --plan sets them: put back when the test ends
    (room / "some.txt").write_text("a\n")
    for arguments, says in [
        ([], "--data [NAME=]FILE"),
        (["--data", room / "some.txt"], "some.txt: examples are JSON lines"),
        (["--plan", "here", *of(room)], "--plan here: write a TPU slice as kind:shape"),
        (["--data", room / "none.jsonl"], "none.jsonl does not exist"),
        (["--data", room / "de.jsonl", "template=x"], "template=x is not one of auto, chat"),
        (["--data", room / "de.jsonl", *of(room, "seq_len=4")], "de.jsonl: all 40 examples are longer than seq_len=4"),
        (["--data", room / "de.jsonl", *of(room, "template=chat")], "has no chat template"),
    ]:
        status, out, err = run(room / "llm", room / "c", *arguments)
        assert status == 2 and not out and says in err and len(err.strip().splitlines()) == 1, err
    assert not (room / "c").exists()
