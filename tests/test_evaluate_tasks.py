"""Sets are read from their original files, from TFDS and from Parquet of the hub; what is wrong is said in one line."""

import json
import lzma
import shutil

import evaluation_sets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds

from saltjax.errors import UserError
from saltjax.evaluate.sets import Sets
from saltjax.evaluate.task import limited, with_shots
from saltjax.evaluate.tasks import TASKS, known, make

WORDS = """xquad:de mlqa:de-en mlqa:ar-ar tydiqa:ar xnli:ar pawsx:de xcopa:vi m_arc:de m_hellaswag:vi m_mmlu:de
    m_truthfulqa:de mgsm:de msvamp:de gsm8k""".split()


ASKED = {"id": "1", "question": "q", "answers": [{"text": ""}]}
STRIPPED = json.dumps({"data": [{"paragraphs": [{"context": "c", "qas": [ASKED]}]}]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return evaluation_sets.write(tmp_path_factory.mktemp("sets"))


@pytest.fixture
def sets(folder, tmp_path):
    """A copy, to be broken."""
    return Sets(shutil.copytree(folder, tmp_path / "sets"))


@pytest.mark.parametrize("word", WORDS)
def test_every_task_reads_its_files(folder, word):
    task = make(word, Sets(folder))
    assert task.name == word and task.source.startswith(("mmlu", word.partition(":")[0]))
    ids = [question.id for question in task.questions]
    assert len(set(ids)) == len(ids) > 5
    for question in task.questions:
        assert question.gold is not None and (task.written or len(question.choices) > 1)
        perfect = question.answer or "".join(question.gold if task.written else "")
        if task.written:
            assert set(task.score(question, perfect).values()) == {1.0}
        elif isinstance(question.gold, int):
            values = [-1.0 if i == question.gold else -1e4 for i in range(len(question.choices))]
            assert set(task.score(question, values).values()) == {1.0}
    assert {name.partition(":")[0] for name in WORDS} == set(TASKS)


def test_prompts(folder):
    first = {word: make(word, Sets(folder)).questions[0] for word in WORDS}
    row = evaluation_sets.QA[0]
    assert first["xquad:de"].context == (
        f"Kontext: {row['context']['de']}\n\nFrage: {row['question']['de']}\n\nAntwort:"
    )
    assert first["mlqa:de-en"].context == (
        f"Kontext: {row['context']['de']}\n\nFrage: {row['question']['en']}\n\nAntwort:"
    )
    assert first["m_mmlu:de"].context.endswith("\nD. " + evaluation_sets.options("de")[0]["option_d"] + "\nAnswer:")
    assert first["xnli:ar"].context == "" and ", صحيح? نعم, " in first["xnli:ar"].choices[0]
    assert first["m_truthfulqa:de"].context.endswith(f"Spain.\n\nQ: {row['question']['de']}\nA:")
    assert first["mgsm:de"].context.startswith("Frage: ") and first["mgsm:de"].context.endswith("-Antwort:")
    assert first["gsm8k"].solved.endswith("Answer: So .\n#### 12")  # without the calculator's note
    cleaned = make("pawsx:de", Sets(folder)).questions[0].choices[0]
    assert " )" not in cleaned and "( " not in cleaned and " ." not in cleaned


def test_packed_files_and_the_test_split_before_the_other(sets):
    path = sets.folder / "xquad/xquad.de.json"
    plain = make("xquad:de", sets)
    (path.parent / "xquad.de.json.xz").write_bytes(lzma.compress(path.read_bytes()))
    path.unlink()
    packed = make("xquad:de", sets)
    assert packed.questions == plain.questions and packed.source == "xquad/xquad.de.json.xz"
    dev = sets.folder / "mlqa/dev-context-de-question-de.json"
    shutil.copyfile(dev, dev.parent / "test-context-de-question-de.json")
    assert make("mlqa:de-de", sets).source == "mlqa/test-context-de-question-de.json"


@pytest.mark.parametrize("word", ["xquad:de", "xnli:ar", "m_mmlu:de", "gsm8k", "xcopa:vi"])
def test_shots_are_solved_examples_of_other_passages(folder, word):
    plain = make(word, Sets(folder))
    shown = with_shots(plain, 2)
    for question, alone in zip(shown.questions, plain.questions, strict=True):
        assert question.context.endswith(alone.context) and question.context.count("\n\n") >= 2
        examples = question.context.removesuffix(alone.context)
        assert not alone.passage or alone.passage not in examples
        assert alone.choices == question.choices and alone.solved not in examples
    own = TASKS[word.partition(":")[0]]
    if own.__name__.endswith("m_mmlu"):
        dev = evaluation_sets.options("de", start=12)[0]
        assert shown.questions[0].context.startswith(dev["instruction"])  # the first of the dev set
    with pytest.raises(UserError, match="1000 shots"):
        with_shots(plain, 1000)


def test_a_limit_takes_the_first(folder):
    task = make("xnli:de", Sets(folder))
    assert limited(task, 3).questions == task.questions[:3] and limited(task, None) is task


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("chess", "task 'chess' is not known"),
        ("xnly:de", "did you mean xnli"),
        ("xquad", "needs a language"),
        ("xnli:xx", "no language 'xx'"),
        ("mlqa:de", "as in mlqa:.*de"),
        ("gsm8k:de", "no language 'de'"),
    ],
)
def test_names_that_are_not_known(word, message):
    with pytest.raises(UserError, match=message):
        known(word)


@pytest.mark.parametrize(
    ("word", "file", "content", "message"),
    [
        ("xquad:vi", "xquad/xquad.vi.json", None, "xquad.vi.json does not exist; .* has xquad.ar.json"),
        ("gsm8k", "gsm8k/test.jsonl", '{"question": "x", "answer": "#### 1"}\n{"quest', "test.jsonl, line 2: not JSON"),
        ("gsm8k", "gsm8k/test.jsonl", '{"question": "x", "answer": "#### many"}\n', "1: .*'many' is no number"),
        ("xnli:de", "xnli/dev-de.tsv", "a\tb\tneutral\na\tneutral\n", "dev-de.tsv, line 2: 2 columns, not the 3"),
        ("xnli:de", "xnli/dev-de.tsv", "a\tb\tmaybe\n", "question 1: 'maybe' is none of the labels entailment"),
        ("m_arc:de", "m_arc/de_test.json", '[\n{"id": 1,]', "de_test.json: not JSON .*line 2"),
        ("m_arc:de", "m_arc/de_test.json", "{}", "a dict, not a list"),
        ("xquad:de", "xquad/xquad.de.json", '{"data": [{}]}', "not SQuAD"),
        ("xquad:de", "xquad/xquad.de.json", b"\xff\xfe", "not UTF-8"),
        ("xnli:de", "xnli/dev-de.tsv", "", "holds no question"),
        (
            "tydiqa:ar",
            "tydiqa/tydiqa.goldp.ar.dev.json",
            STRIPPED,
            "without their answers",
        ),
    ],
)  # fmt: skip
def test_broken_files_are_named(sets, word, file, content, message):
    path = sets.folder / file
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message) as caught:
        make(word, sets)
    assert "\n" not in str(caught.value)


class Xquad(tfds.core.GeneratorBasedBuilder):
    """As TFDS has it."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="de", version="1.0.0", description="x")]  # noqa: RUF012

    def _info(self):
        answers = tfds.features.Sequence({"text": tfds.features.Text(), "answer_start": np.int32})
        texts = {name: tfds.features.Text() for name in ("id", "title", "context", "question")}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({**texts, "answers": answers}))

    def _split_generators(self, dl_manager):
        return {"test": self._generate_examples()}

    def _generate_examples(self):
        for article in evaluation_sets.squad("de", "de")["data"]:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    yield asked["id"], {"title": "x", "context": paragraph["context"], **asked}


def test_a_set_that_tfds_has_prepared(folder, tmp_path, monkeypatch):
    Xquad(data_dir=tmp_path, config="de").download_and_prepare(file_format="array_record")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    task = make("xquad:de", Sets())
    assert task.source == "tfds:xquad/de, test"
    by_id = {question.id: question for question in make("xquad:de", Sets(folder)).questions}
    assert {question.id: question for question in task.questions} == by_id


def test_the_hubs_parquet_files(folder, tmp_path, monkeypatch):
    """What comes from the network is the list of a repository's files and the files; here both lie on disk."""
    import huggingface_hub

    rows = [{"premise": a, "hypothesis": b, "label": ["entailment", "neutral", "contradiction"].index(c)}
            for a, b, c in evaluation_sets.xnli("de")]  # fmt: skip
    for number, part in enumerate((rows[:5], rows[5:])):
        path = tmp_path / f"de/validation/000{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(part), path)
    files = ["README.md", "de/test/0000.parquet", *(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.parquet"))]
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda self, repo, **where: files)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, name, **where: str(tmp_path / name))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    task = make("xnli:de", Sets())
    assert task.questions == make("xnli:de", Sets(folder)).questions
    assert task.source == "hub:facebook/xnli, de, validation"
    with pytest.raises(UserError, match="has no fr/validation"):
        make("xnli:fr", Sets())


def test_without_a_network_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match="--data DIR"):
        make("xnli:de", Sets())
    with pytest.raises(UserError, match="msvamp:de is not on the hub"):
        make("msvamp:de", Sets())
