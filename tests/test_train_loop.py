"""Whole runs of a tiny model: any stop can be resumed to the same bits."""

import os
import resource
import shutil
import signal
from functools import cache

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saltjax.errors import UserError
from saltjax.models.config import DecoderConfig
from saltjax.models.model import Model, random_model
from saltjax.train import checkpoint, metrics
from saltjax.train.config import read_config
from saltjax.train.loop import train
from saltjax.train.meter import SPEED
from saltjax.train.run import Run
from saltjax.train.sharding import leaves

pytestmark = pytest.mark.filterwarnings("ignore:Sharding info not provided")  # of loading all, to compare it

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "layers": 2,
    "heads": 2,
    "kv_heads": 1,
    "head_dim": 8,
    "mlp_size": 32,
    "max_positions": 32,
}
BASE = ["batch_size=4", "warmup_steps=2", "learning_rate=1e-2", "log_every=1", "mesh.fsdp=1", "compute_dtype=float32"]


@pytest.fixture(scope="module", autouse=True)
def compile_each_program_once(tmp_path_factory):
    """Every run here compiles its step; the same ones come from a cache."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    for name, value in zip(names, (str(tmp_path_factory.mktemp("jax")), 0.0), strict=True):
        jax.config.update(name, value)
    yield
    for name, value in zip(names, before, strict=True):
        jax.config.update(name, value)


@cache
def stored() -> tuple[Model, dict]:
    model = random_model(DecoderConfig(**SIZES), 0)
    return model, jax.tree.map(np.asarray, model.params)


def fresh_model() -> Model:
    model, params = stored()
    return model._replace(params=jax.tree.map(jnp.array, params))


def fresh_batches():
    """22 windows of two segments and some padding: with batches of 4, epochs meet within a batch."""
    rng = np.random.default_rng(0)
    segments = np.repeat([1, 2, 0], (5, 5, 2)).astype(np.int32)
    positions = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 0], np.int32)
    windows = [
        {"tokens": rng.integers(0, 50, 12).astype(np.int32), "segments": segments, "positions": positions}
        for _ in range(22)
    ]
    parts = grain.MapDataset.source(windows).seed(0).shuffle().repeat().batch(4)
    return iter(parts.to_iter_dataset(grain.ReadOptions(num_threads=2)))


def new_run(path, *overrides: str) -> Run:
    path.mkdir(exist_ok=True)
    return Run(path, read_config(None, [*BASE, *overrides]))


def lines(run: Run) -> list[dict]:
    """metrics.jsonl without what depends on the clock."""
    clock = (*SPEED, "seconds")
    return [{k: v for k, v in line.items() if k not in clock and v is not None} for line in metrics.read(run.metrics)]


def bits(run: Run, step: int) -> dict[str, bytes]:
    """Every bit of a checkpoint but the clock: parameters, moments, state of the data."""
    with checkpoint.open_checkpoints(run.checkpoints) as checkpoints:
        found = checkpoints.load_checkpointables(step, None)
    found["data"].pop("seconds")
    flat, _ = jax.tree_util.tree_flatten_with_path(found)
    return {jax.tree_util.keystr(k): np.asarray(x).tobytes() for k, x in flat}


def table_mean(params) -> dict[str, float]:
    return {"mean": float(jnp.abs(params["embed"]["table"]).mean())}


STRAIGHT = ("steps=6", "checkpoint_every=1", "keep_checkpoints=9", "eval_every=2")
PHASES = (*STRAIGHT, "embeddings_first=3", "trainable=embeddings+layers:0")


STAGES = "stages=[{until: 2, train: embeddings}, {until: 4, train: 'lora+layers.mlp.up@1'}]"
STAGED = (*STRAIGHT, STAGES, "trainable=embeddings+lora", "lora.rank=2", "accumulate=2", "moments_dtype=bfloat16")


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """An undisturbed run (read only) and what it returned."""
    run = new_run(tmp_path_factory.mktemp("straight"), *STRAIGHT)
    return run, train(fresh_model(), fresh_batches(), run, table_mean)


@pytest.fixture(scope="module")
def phased(tmp_path_factory):
    """The same with a first phase for embeddings and head."""
    run = new_run(tmp_path_factory.mktemp("phased"), *PHASES)
    return run, train(fresh_model(), fresh_batches(), run, table_mean)


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """Adapters, a part of a layer, and embeddings, each in its time."""
    run = new_run(tmp_path_factory.mktemp("staged"), *STAGED)
    return run, train(fresh_model(), fresh_batches(), run, table_mean)


def killed(run: Run, path, at: int) -> Run:
    """A copy of a run as it would lie there, killed after checkpoint `at` while it wrote a line of step 7."""
    shutil.copytree(run.path, path)
    for step in range(at + 1, 7):
        shutil.rmtree(path / "checkpoints" / str(step))
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    return Run(path, run.config)


@pytest.mark.parametrize(
    ("fixture", "at"), [("straight", 0), ("straight", 4), ("phased", 2), ("phased", 3), ("staged", 2), ("staged", 4)]
)
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, request, fixture, at):
    whole, result = request.getfixturevalue(fixture)
    run = killed(whole, tmp_path / "run", at)
    again = train(fresh_model(), fresh_batches(), run, table_mean)
    assert lines(run) == lines(whole)
    assert bits(run, 6) == bits(whole, 6)
    assert (again.step, again.loss, again.valid) == (6, result.loss, result.valid)


def test_what_a_run_returns_and_leaves(straight):
    run, result = straight
    assert (result.step, result.interrupted, result.checkpoint) == (6, False, run.checkpoints / "6")
    assert checkpoint.steps(run.checkpoints) == [1, 2, 3, 4, 5, 6]
    found = metrics.read(run.metrics)
    assert [line["step"] for line in found] == [0, 1, 2, 2, 3, 4, 4, 5, 6, 6]
    assert (result.loss, result.valid) == (found[-2]["loss"], found[-1]["bits_per_byte"])
    assert set(found[1]) == {
        "step", "loss", "learning_rate", "grad_norm", "tokens", "seconds", *SPEED,
        "device_memory_bytes", "device_memory_peak_bytes",
    }  # fmt: skip
    assert [line["tokens"] for line in found if "tokens" in line] == [32, 64, 96, 128, 160, 192]  # 4 x 2 segments x 4
    pictures = {file.name for file in (run.path / "plots").iterdir()}
    assert pictures == {f"{name}.png" for name in ("loss", "bits_per_byte", "learning_rate", "grad_norm", "speed")}
    assert all(file.stat().st_size > 5000 for file in (run.path / "plots").iterdir())
    assert list((run.path / "tensorboard").glob("events.*"))


def test_the_first_phase_moves_embeddings_only_and_what_joins_starts_fresh(phased):
    run, _ = phased
    first = checkpoint.load_params(run.checkpoints, 3)[1]
    last = checkpoint.load_params(run.checkpoints, 4)[1]
    start = stored()[1]
    assert not np.array_equal(first["embed"]["table"], start["embed"]["table"])
    assert not np.array_equal(first["head"]["table"], start["head"]["table"])
    jax.tree.map(np.testing.assert_array_equal, first["layers"], start["layers"])
    assert not np.array_equal(last["layers"]["mlp"]["up"][0], start["layers"]["mlp"]["up"][0])
    np.testing.assert_array_equal(last["layers"]["mlp"]["up"][1], start["layers"]["mlp"]["up"][1])
    with checkpoint.open_checkpoints(run.checkpoints) as checkpoints:
        early = checkpoints.load_checkpointables(2, None)["optimizer"]
        late = checkpoints.load_checkpointables(4, None)["optimizer"]
    assert set(early) == {"embed.table", "head.table"}
    counts = {path: int(state[0]["count"]) for path, state in late.items()}
    assert counts.pop("embed.table") == counts.pop("head.table") == 4  # carried on
    assert set(counts.values()) == {1}
    rates = [line["learning_rate"] for line in lines(run) if "loss" in line]
    cosine = [0.1 + 0.9 * (1 + np.cos(np.pi * done / 4)) / 2 for done in range(4)]
    np.testing.assert_allclose(rates, [0.005, 0.01, *(0.01 * share for share in cosine)], rtol=1e-6)  # over both phases


def test_stages_move_what_they_name_and_adapters_are_measured_merged(staged):
    run, result = staged
    at = {step: dict(leaves(checkpoint.load_params(run.checkpoints, step)[1])) for step in (1, 2, 4, 6)}
    moved = {
        (a, b): {path for path, x in at[a].items() if not np.array_equal(x, at[b][path])}
        for a, b in ((1, 2), (2, 4), (4, 6))
    }
    adapters = {path for path in at[1] if path.startswith("lora.")}
    assert moved[1, 2] == {"embed.table", "head.table"}
    assert moved[2, 4] == {*adapters, "layers.mlp.up"}
    assert moved[4, 6] == {*adapters, "embed.table", "head.table"}
    np.testing.assert_array_equal(at[2]["layers.mlp.up"][0], at[4]["layers.mlp.up"][0])
    gate, a, b = (at[6][path] for path in ("layers.mlp.gate", "lora.layers.mlp.gate.a", "lora.layers.mlp.gate.b"))
    np.testing.assert_allclose(result.params["layers"]["mlp"]["gate"], gate + 8 * np.matmul(a, b), atol=1e-6)
    assert "lora" not in result.params


def test_a_signal_saves_and_says_how_to_resume(tmp_path, capfd, straight):
    config = read_config(None, [*BASE, *STRAIGHT, "checkpoint_every=0"])
    run = Run(tmp_path, config)
    signals = {2: signal.SIGINT, 3: signal.SIGTERM}  # at the evaluations of steps 2 and 4
    calls = []

    def score(params):
        calls.append(1)
        if len(calls) in signals:
            os.kill(os.getpid(), signals[len(calls)])
        return table_mean(params)

    before = [signal.getsignal(number) for number in signals.values()]
    for step in (2, 4):
        result = train(fresh_model(), fresh_batches(), run, score)
        assert result.interrupted and (result.step, result.checkpoint) == (step, run.checkpoints / str(step))
        assert f"saved step {step} of 6" in capfd.readouterr().err
        assert [signal.getsignal(number) for number in signals.values()] == before
    assert not train(fresh_model(), fresh_batches(), run, score).interrupted
    assert len(calls) == 4  # what was measured is not measured again
    assert lines(run) == lines(straight[0])
    assert bits(run, 6) == bits(straight[0], 6)


def test_steps_0_writes_the_starting_checkpoint_and_more_steps_go_on_from_it(tmp_path):
    run = new_run(tmp_path, "steps=0")
    result = train(fresh_model(), fresh_batches(), run, table_mean)
    assert (result.step, result.loss, result.speed) == (0, None, dict.fromkeys(SPEED))
    assert result.valid == lines(run)[0]["bits_per_byte"]
    step, params = checkpoint.load_params(run.checkpoints)
    assert step == 0
    jax.tree.map(np.testing.assert_array_equal, params, stored()[1])
    assert train(fresh_model(), fresh_batches(), new_run(tmp_path, "steps=1")).step == 1
    fewer = train(fresh_model(), fresh_batches(), new_run(tmp_path, "steps=0"), table_mean)
    assert fewer.step == 1  # nothing to do, nothing lost
    assert checkpoint.steps(run.checkpoints) == [0, 1]


def test_resume_on_another_mesh_from_an_abstract_model(tmp_path, straight):
    old = killed(straight[0], tmp_path / "run", 4)
    mesh = ("mesh.data=2", "mesh.fsdp=2", "mesh.tensor=2")
    run = new_run(old.path, *STRAIGHT, "keep_checkpoints=2", *mesh)
    model = fresh_model()
    model = model._replace(params=jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), model.params))
    result = train(model, fresh_batches(), run, table_mean)
    assert {len(x.sharding.device_set) for x in jax.tree.leaves(result.params)} == {8}
    assert checkpoint.steps(run.checkpoints) == [5, 6]
    for one, other in zip(lines(run), lines(straight[0]), strict=True):
        if "loss" in one:
            assert one == pytest.approx(other, rel=1e-4)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    run = new_run(tmp_path, "steps=9", "checkpoint_every=2", "eval_every=3", "log_every=100")
    calls = []

    def score(params):  # at step 3, what a step of far too high a rate would leave behind
        calls.append(1)
        if len(calls) == 2:
            params["norm"]["scale"] = params["norm"]["scale"] * jnp.nan
        return {}

    says = r"loss is nan at step 4; norm.scale was .*nan.step-4; the last whole checkpoint is step 2"
    with pytest.raises(UserError, match=says):
        train(fresh_model(), fresh_batches(), run, score)
    assert checkpoint.steps(run.checkpoints) == [2]


@pytest.mark.parametrize("room", [100, 4000])  # bytes a file: too small for a line of metrics, for a checkpoint
def test_a_full_disk_is_one_line_and_leaves_the_last_checkpoint_whole(tmp_path, caplog, straight, room):
    old = killed(straight[0], tmp_path / "run", 5)
    run = new_run(old.path, *STRAIGHT, "eval_every=1", "keep_checkpoints=1")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def score(params):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        return {}

    try:
        with pytest.raises(UserError, match=r"last whole checkpoint is step 5; free some space"):
            train(fresh_model(), fresh_batches(), run, score)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not caplog.records  # Orbax would log a traceback for each of its threads
    assert {folder.name for folder in run.checkpoints.iterdir()} == {"1", "2", "3", "4", "5"}
    assert train(fresh_model(), fresh_batches(), run).step == 6
    assert bits(run, 6) == bits(straight[0], 6)


def test_mistakes_are_found_before_anything_runs(tmp_path):
    for override, says in (("trainable=layers:9", "no layer 9"), ("mesh.data=3", "batch_size=4 cannot be split")):
        with pytest.raises(UserError, match=says):
            train(fresh_model(), fresh_batches(), new_run(tmp_path, override, "embeddings_first=2"))
        assert list(tmp_path.iterdir()) == []


def test_a_wsd_run_in_pieces_is_that_of_one(tmp_path):
    """A constant part, prolonged, and then its decay; the checkpoint before the decay is kept for the next time."""
    wsd = ("schedule=wsd", "final_learning_rate_ratio=0", "checkpoint_every=0")
    whole, parts = new_run(tmp_path / "a", *wsd, "steps=5", "decay_steps=2"), new_run(tmp_path / "b", *wsd, "steps=2")
    train(fresh_model(), fresh_batches(), whole)
    assert checkpoint.steps(whole.checkpoints) == [3, 5]
    for more in (("steps=3",), ("steps=5", "decay_steps=2")):
        train(fresh_model(), fresh_batches(), parts)
        parts = new_run(parts.path, *wsd, *more)
    train(fresh_model(), fresh_batches(), parts)
    assert bits(parts, 5) == bits(whole, 5)
    rates = [line["learning_rate"] for line in lines(whole)]
    np.testing.assert_allclose(rates, [0.005, 0.01, 0.01, 0.01, 0.01 * (1 - np.sqrt(0.5))], rtol=1e-6)
