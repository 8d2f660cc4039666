"""A step whose numbers are not finite: what is kept of it is enough to see it again."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_train_loop import fresh_batches, fresh_model, new_run

from saltjax.errors import UserError
from saltjax.train import checkpoint
from saltjax.train.loop import train
from saltjax.train.mesh import make_mesh
from saltjax.train.sharding import leaves

BAD = 4  # the step that sees a token outside the vocabulary, whose embedding is NaN


class Spoilt:
    """Batches of which number `BAD` (from 1) has an id that is no token."""

    def __init__(self, given):
        self._given, self._number = given, 0

    def __iter__(self):
        return self

    def __next__(self):
        batch, self._number = next(self._given), self._number + 1
        if self._number == BAD:
            batch["tokens"][1, 2] = 999
            self.bad = batch
        return batch

    def get_state(self):
        return {}

    def set_state(self, state):
        pass


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """(the run, its batches, the error)."""
    run = new_run(
        tmp_path_factory.mktemp("run"), "steps=9", "log_every=100", "eval_every=0", "checkpoint_every=3", "seed=1"
    )
    batches = Spoilt(fresh_batches())
    with pytest.raises(UserError) as error:
        train(fresh_model(), batches, run, decode=lambda ids: " ".join(map(str, ids)))
    return run, batches, str(error.value)


def test_the_error_is_one_line_that_names_step_folder_and_checkpoint(stopped):
    run, _, error = stopped
    folder = re.escape(str(run.path / "nan" / f"step-{BAD}"))
    assert re.fullmatch(
        rf"[^\n]*loss is nan at step {BAD}; its batch is in {folder}; the last whole checkpoint is step 3; .*",
        error,
    )
    assert checkpoint.steps(run.checkpoints) == [3]


def test_the_batch_is_that_of_the_bad_step_although_another_was_on_its_way(stopped):
    run, batches, _ = stopped
    with np.load(run.path / "nan" / f"step-{BAD}" / "batch.npz") as found:
        assert set(found) == set(batches.bad)
        for key in found:
            np.testing.assert_array_equal(found[key], batches.bad[key])


def test_the_note_says_what_was_not_finite_and_shows_the_text(stopped):
    run, batches, _ = stopped
    note = json.loads((run.path / "nan" / f"step-{BAD}" / "note.json").read_text())
    params = [path for path, _ in leaves(checkpoint.load_params(run.checkpoints)[1])]
    assert note["step"] == BAD and note["loss"] == "nan" and note["learning_rate"] > 0
    assert note["parameters_not_finite"] == []  # a bad step changes nothing
    assert note["gradients_not_finite"] == sorted(params) == list(note["gradient_norms"])
    rows = [[" ".join(map(str, row[:5])), " ".join(map(str, row[5:10]))] for row in batches.bad["tokens"]]
    assert note["text"] == rows  # two pieces a row; the rest is padding


def test_a_bad_step_leaves_parameters_and_moments_as_they_were():
    from training import batch, fresh, settings

    from saltjax.train.config import MeshConfig
    from saltjax.train.forward import decoder_forward
    from saltjax.train.step import global_batch, make_step, start
    from saltjax.train.trainable import trainable

    config, mesh = settings("trainable=layers:1,2+norm.*"), make_mesh(MeshConfig(fsdp=1))
    model, params = fresh()
    mask = trainable(params, config.trainable)
    state = start(params, mask, config, mesh)
    step = make_step(decoder_forward(model, jnp.float32), mask, config, mesh, state)
    state, values = step(state, global_batch(batch(0), mesh))
    assert np.isfinite(values["gradient_norms"]).all()
    assert np.sqrt((values["gradient_norms"] ** 2).sum()) == pytest.approx(float(values["grad_norm"]), rel=1e-6)
    before = jax.tree.map(np.asarray, (state.params, state.opt_state))
    bad = batch(1)
    bad["tokens"][0, 0] = 999
    state, values = step(state, global_batch(bad, mesh))
    assert np.isnan(values["loss"]) and int(state.step) == 2
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.asarray, (state.params, state.opt_state)))
