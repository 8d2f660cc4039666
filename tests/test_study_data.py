"""What runs are trained on: nested subsets, refused rows, manifests, and the study's YAML."""

import hashlib
import json
import random

import pytest
import studies

from saltjax.errors import UserError
from saltjax.study.design import Length
from saltjax.study.grid import runs
from saltjax.study.identify import Identifier
from saltjax.study.manifest import as_bytes, manifest, orders, planned_study
from saltjax.study.pools import enough, pools, read_questions
from saltjax.study.rows import Row, read_rows
from saltjax.study.subsets import as_file, digests, ordered
from saltjax.study.yamlstudy import read_study


@pytest.fixture
def study(tmp_path):
    studies.write_data(tmp_path)
    return read_study(studies.write_study(tmp_path / "study.yaml", studies.content(tmp_path)))


def made(count):
    return [
        Row(f"line {i}", [{"role": "user", "content": f"{i}"}, {"role": "assistant", "content": "yes"}])
        for i in range(count)
    ]


def test_subsets_are_nested_and_do_not_depend_on_the_order_of_the_file():
    rows = made(50)
    order = ordered(rows, 3, "maths", "de")
    shuffled = rows[:]
    random.Random(0).shuffle(shuffled)
    assert ordered(shuffled, 3, "maths", "de") == order
    assert sorted(row.line for row in order) == sorted(row.line for row in rows)
    for small, large in ((5, 10), (10, 20), (20, 40)):
        assert as_file(order[:large]).startswith(as_file(order[:small]))
    # A row that is added later moves none of the others.
    more = ordered([*rows, *made(51)[50:]], 3, "maths", "de")
    assert [row for row in more if row.line != "line 50"] == order
    others = [ordered(rows, *how) for how in ((4, "maths", "de"), (3, "qa", "de"), (3, "maths", "ar"))]
    assert all([row.line for row in other[:10]] != [row.line for row in order[:10]] for other in others)


def test_the_order_is_fixed_for_all_time():
    """A study that is planned anew, with a later version, has the same subsets."""
    first = [row.line for row in ordered(made(20), 0, "maths", "de")[:4]]
    assert first == ["line 1", "line 18", "line 9", "line 6"]


def test_digests_are_those_of_the_files(study):
    rows = made(12)
    found = digests(rows, {0, 5, 12})
    assert found == {n: hashlib.sha256(as_file(rows[:n])).hexdigest() for n in (0, 5, 12)}


def test_manifests_are_the_same_to_the_byte(study):
    def planned():
        asked = read_questions(study)
        found = pools(study, asked)
        return as_bytes(manifest(study, {}, found, asked, orders(study, found)))

    once = planned()
    assert planned() == once
    content = json.loads(once)
    assert planned_study(content) == study
    assert set(content["runs"]) == {run.name for run in runs(study)}
    nested = content["subsets"]
    assert nested["next.de.0.4"]["sha256"] != nested["next.de.1.4"]["sha256"] != nested["next.de.1.8"]["sha256"]


def test_the_grid(study):
    found = runs(study)
    assert len({run.name for run in found}) == len(found) == 2 * 3 * (1 + 2 * 2)  # seeds, tasks, budgets
    none = next(run for run in found if run.budget == 0 and run.setting == "multi")
    assert none.rows(study) == {("next", "en"): 4, ("before", "en"): 4}
    mixed = next(run for run in found if run.name == "tiny.2-steps.single.next.mixed.8.1")
    assert mixed.rows(study) == {("next", "en"): 4, ("next", "de"): 8, ("next", "ar"): 8}


def test_rows_that_are_refused(study, tmp_path):
    """Of an unseen language (in the prompt or the answer), said twice, asked in a test, in another task."""
    german = studies.rows("de", 6, start=60)
    vietnamese = studies.rows("vi", 2, start=60)
    mixed = [{"prompt": german[0]["prompt"], "completion": vietnamese[0]["completion"]}, vietnamese[1]]
    asked = studies.rows("de", 1, start=100)
    english = studies.rows("en", 1, start=60)
    twice = [german[5], german[5]]
    studies.write(tmp_path / "next.de.train.jsonl", [*german[:5], *mixed, *asked, *twice, *english])
    before = [german[0], *studies.rows("de", 1, start=80)]
    studies.write(tmp_path / "before.de.train.jsonl", before)
    found = pools(study, read_questions(study))
    assert found["next", "de"].refused == {"asked in a test": 1, "in vi": 2, "said twice": 1}
    assert found["next", "de"].elsewhere == {"en": 1}
    assert [json.loads(row.line) for row in found["next", "de"].rows] == [*german, *english]
    assert found["before", "de"].refused == {"in another task": 1}
    assert len(found["before", "de"].rows) == 1
    with pytest.raises(UserError, match=r"before: 8 rows of de .* has 1 \(1 in another task refused\)") as caught:
        enough(study, found)
    assert len(str(caught.value).split("\n")) == 2  # before:de, and next:de with 7


def test_short_and_doubtful_texts_are_undecided():
    identified = Identifier(studies.LANGUAGES)
    texts = [
        "12 + 7 = 19",
        "Die Bäckerei öffnet um sechs Uhr morgens.",
        "Mai",
        "",
        "Tiệm bánh mở cửa lúc sáu giờ sáng.",
    ]
    assert identified(texts) == [None, "de", None, None, "vi"]
    with pytest.raises(UserError, match="lingua does not know xx"):
        Identifier(["de", "xx"])


def test_missing_files_are_all_named(study, tmp_path):
    (tmp_path / "next.vi.test.jsonl").unlink()
    (tmp_path / "before.ar.test.jsonl").write_text('{"prompt": "a"}\n')
    with pytest.raises(UserError) as caught:
        read_questions(study)
    said = str(caught.value).split("\n")
    assert len(said) == 2 and "next.vi.test.jsonl" in said[0] and "before.ar.test.jsonl, line 1" in said[1]


def test_rows_with_tools_are_refused(tmp_path):
    row = {"prompt": "a", "completion": "b", "tools": [{"function": {"name": "f"}}]}
    with pytest.raises(UserError, match=r"a\.jsonl, line 1: has tools, which a study cannot score"):
        list(read_rows(str(studies.write(tmp_path / "a.jsonl", [row]))))


def test_rows_in_every_form(tmp_path):
    turns = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
    forms = [{"messages": turns}, {"prompt": "a", "completion": "b"}, {"instruction": "a", "output": "b", "answer": 3}]
    found = [next(read_rows(str(studies.write(tmp_path / f"{i}.jsonl", [form])))) for i, form in enumerate(forms)]
    assert [(row.prompt, row.completion, row.answer) for row in found] == [
        ("s\na", "b", None),
        ("a", "b", None),
        ("a", "b", 3),
    ]
    assert found[1].digest == found[2].digest != found[0].digest


BAD = {"train": "x", "test": "{language}", "metric": "bleu"}
WRONG = [
    ({"modle": {}}, "modle: not known; the nearest is 'models'"),
    ({"models": {}}, "models: none"),
    ({"models": {"a b": "x"}}, r"models.a b: a name is letters"),
    ({"models": {"a": "$NO_SUCH/x"}}, r"models.a: \$NO_SUCH is not set"),
    (
        {"tasks": {"t": {"train": "x", "test": "{language}", "metric": "bleu"}}},
        r"tasks.t.train: x: has no \{language\}",
    ),
    ({"tasks": {"t": {"train": "x", "test": "{language}", "metric": "bleu"}}}, "tasks.t.metric: 'bleu' is not known"),
    ({"tasks": {"t": 3}}, "tasks.t: 3 is no mapping"),
    (
        {"tasks": {"t": {"train": "{language}", "test": "{language}", "metric": "judge"}}},
        "judge: a task is scored by it",
    ),
    ({"languages": {"seen": ["de"], "unseen": ["de"]}}, "languages.unseen: de is trained on too"),
    ({"languages": {"core": "en", "seen": ["de"]}}, "core and core_rows go together"),
    ({"languages": {"seen": ["de", "ar"]}}, "budgets: 0 rows leave nothing"),
    ({"languages": {"core": "en", "core_rows": 2, "seen": [False]}}, 'write "no" in quotes'),
    ({"groups": {"g": ["vi"]}}, "groups.g: vi is not among languages.seen"),
    ({"groups": {"g": ["de"], "h": ["de"]}}, "groups: two have the same languages"),
    ({"budgets": [0, 20, 10]}, r"budgets: \[0, 20, 10\] must grow"),
    ({"budgets": [1.5]}, "budgets: 1.5 is not a whole number"),
    ({"settings": ["both"]}, "settings: 'both' is not known; choose from single, multi"),
    ({"train_for": ["3 hours"]}, "train_for: '3 hours' is no length of training"),
    ({"seeds": [1, 1]}, "seeds: 1 is there twice"),
    ({"finetune": {"steps": 3}}, "finetune.steps: is decided by the study"),
    ({"finetune": {"learning_rat": 3}}, "finetune.learning_rat: unknown setting 'learning_rat'; the nearest one is"),
    ({"judge": {"url": "http://x"}}, "judge.model: missing"),
    ({"identify": "maybe"}, "identify: 'maybe' is neither true nor false"),
]


@pytest.mark.parametrize(("changes", "said"), WRONG)
def test_mistakes_in_the_yaml_are_named(tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        read_study(studies.write_study(tmp_path / "s.yaml", studies.content(tmp_path, **changes)))


def test_all_mistakes_are_told_at_once_in_a_line_each(tmp_path):
    changes = {"budgets": [-1], "seeds": [], "identify": 3, "finetune": {"seed": 1, "batch_size": "x"}}
    path = studies.write_study(tmp_path / "s.yaml", studies.content(tmp_path, **changes))
    with pytest.raises(UserError) as caught:
        read_study(path)
    said = str(caught.value).split("\n")
    assert len(said) == 6 and all(line.startswith(f"{path}: ") for line in said)  # budgets too: none are left


def test_a_study_as_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HERE", str(tmp_path))
    given = studies.content(tmp_path, train_for=["1.5 epochs", "60 steps"], models={"m": "$HERE/model"})
    del given["groups"]
    found = read_study(studies.write_study(tmp_path / "mine.yaml", given))
    assert found.name == "mine" and found.models == {"m": f"{tmp_path}/model"} and found.groups == {"all": ("de", "ar")}
    assert found.lengths == (Length(1.5, "epochs"), Length(60.0, "steps"))
    assert found.finetune["mesh.fsdp"] == 1 and found.languages == ("en", "de", "ar", "vi")
