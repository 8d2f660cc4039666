"""The pictures of a run: which there are, and what they show."""

import json

from saltjax.train import plots
from saltjax.train.plots import draw


def drawn(path, lines, monkeypatch):
    """{picture: {panel: {curve: points}}} of a run with these lines in metrics.jsonl."""
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen, picture = {}, plots.picture

    def look(file, panels):
        seen[file.stem] = panels
        return picture(file, panels)

    monkeypatch.setattr(plots, "picture", look)
    assert all(file.stat().st_size > 5000 for file in draw(path))
    return seen


def training(step, **more):
    speed = {"tokens_per_second_per_device": 100.0, "data_wait": 0.02, "mfu": None, "device_memory_peak_bytes": None}
    return {"step": step, "loss": 3.0 - step, "learning_rate": 1e-3, "grad_norm": 1.0, **speed, **more}


def test_held_out_texts_are_shown_by_value_and_by_change_since_the_start(tmp_path, monkeypatch):
    scores = [{"de": 2.0, "en": 1.0}, {"de": 1.5, "en": 1.1}, {"de": 1.0, "en": 1.2, "late": 3.0}]
    found = drawn(tmp_path, [{"step": s, "bits_per_byte": one} for s, one in enumerate(scores)], monkeypatch)
    assert set(found) == {"bits_per_byte", "bits_per_byte_change"}
    (curves,) = found["bits_per_byte"].values()
    assert curves == {"de": [(0, 2.0), (1, 1.5), (2, 1.0)], "en": [(0, 1.0), (1, 1.1), (2, 1.2)], "late": [(2, 3.0)]}
    (change,) = found["bits_per_byte_change"].values()
    rounded = {name: [(step, round(value, 6)) for step, value in points] for name, points in change.items()}
    assert rounded == {"de": [(0, 0), (1, -25), (2, -50)], "en": [(0, 0), (1, 10), (2, 20)]}


def test_one_text_has_no_picture_of_changes_and_what_is_not_known_no_panel(tmp_path, monkeypatch):
    lines = [{"step": 0, "bits_per_byte": {"de": 2.0}}, training(1), training(2)]
    found = drawn(tmp_path, lines, monkeypatch)
    assert set(found) == {"bits_per_byte", "loss", "learning_rate", "grad_norm", "speed"}
    assert list(found["speed"]) == ["tokens per second\nof a device", "waiting for data\n[% of the time]"]
    assert found["speed"]["waiting for data\n[% of the time]"] == {"": [(1, 2.0), (2, 2.0)]}


def test_on_a_known_accelerator_there_are_mfu_and_memory_too(tmp_path, monkeypatch):
    more = {"mfu": 0.45, "device_memory_peak_bytes": 3 * 2**30}
    panels = drawn(tmp_path, [training(1, **more)], monkeypatch)["speed"]
    assert panels["MFU [%]"] == {"": [(1, 45.0)]} and panels["device memory,\npeak [GiB]"] == {"": [(1, 3.0)]}
