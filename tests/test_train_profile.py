"""A profile of the wanted steps, and of no others."""

import gzip
import json

import pytest
from test_train_loop import fresh_batches, fresh_model, new_run

from saltjax.errors import UserError
from saltjax.train.loop import train
from saltjax.train.profile import read_steps


def test_the_wanted_steps_are_traced(tmp_path):
    run = new_run(tmp_path, "steps=6", "profile_steps=3-4", "log_every=100")
    train(fresh_model(), fresh_batches(), run)
    (trace,) = run.path.glob("profile/plugins/profile/*/*.trace.json.gz")
    with gzip.open(trace) as file:
        events = json.load(file)["traceEvents"]
    assert [one["args"]["step_num"] for one in events if one.get("name") == "train"] == ["3", "4"]
    assert list(run.path.glob("profile/plugins/profile/*/*.xplane.pb"))


def test_an_error_within_them_ends_the_trace(tmp_path):
    class Broken(Exception):
        pass

    class Batches:
        def __init__(self):
            self.given, self.number = fresh_batches(), 0

        def __iter__(self):
            return self

        def __next__(self):
            self.number += 1
            if self.number == 2:
                raise Broken
            return next(self.given)

        def get_state(self):
            return {}

        def set_state(self, state):
            pass

    for folder in ("a", "b"):  # a trace that still ran would make the second one fail
        with pytest.raises(Broken):
            train(fresh_model(), Batches(), new_run(tmp_path / folder, "steps=6", "profile_steps=1-4"))
        assert list(tmp_path.glob(f"{folder}/profile/plugins/profile/*/*.xplane.pb"))


def test_steps_are_read_as_they_are_counted():
    assert list(read_steps("10-13")) == [10, 11, 12, 13] and list(read_steps("7")) == [7] and not read_steps("")
    for wrong in ("13-10", "0-3", "a", "1-2-3", "-3"):
        with pytest.raises(UserError, match=f"profile_steps={wrong} is not FIRST-LAST"):
            read_steps(wrong)
