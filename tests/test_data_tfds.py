import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
import zoo

from saltjax.data.corpus import Source
from saltjax.data.tfds import TfdsSplit
from saltjax.data.tokens import tokenized
from saltjax.errors import UserError

TEXTS = ["Grüße", "", *(f"Satz {i}" for i in range(30))]


class TinyText(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"text": tfds.features.Text(), "raw": tfds.features.Text(), "n": np.int64}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(TEXTS), "bad": self._generate_examples(["x"])}

    def _generate_examples(self, texts):
        for i, text in enumerate(texts):
            yield i, {"text": text, "raw": b"\xff" if i == 0 else b"a", "n": i}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    builder = TinyText(data_dir=tmp_path_factory.mktemp("tfds"), file_format="array_record")
    builder.download_and_prepare(file_format="array_record")
    return str(builder.data_dir)


def test_a_prepared_directory_gives_its_texts(directory):
    split = TfdsSplit(directory)
    assert isinstance(split, Source)
    found = list(split.documents())
    assert sorted(found) == sorted(text for text in TEXTS if text) and list(TfdsSplit(directory).documents()) == found


def test_it_can_be_tokenised_and_cached(directory, tmp_path):
    tokenizer = zoo.tokenizer("byte_bpe")
    store = tokenized([TfdsSplit(directory)], tokenizer, tmp_path)
    assert store.counts.documents == len(TEXTS) - 1
    assert store.counts.bytes == sum(len(text.encode()) for text in TEXTS)
    assert tokenized([TfdsSplit(directory)], tokenizer, tmp_path).directory == store.directory
    assert TfdsSplit(directory, split="bad").fingerprint() != TfdsSplit(directory).fingerprint()


def test_a_name_is_prepared_where_tfds_keeps_its_sets_and_stdout_stays_clean(tmp_path):
    script = "import test_data_tfds as t; print(len(list(t.TfdsSplit('tiny_text').documents())))"
    for _ in range(2):  # made, then found
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=Path(__file__).parent,
            env={**os.environ, "TFDS_DATA_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])},
            capture_output=True,
            text=True,
        )
        assert done.stdout == "31\n", done.stderr
    assert (tmp_path / "tiny_text/1.0.0/dataset_info.json").is_file()


def test_a_part_of_a_split(directory):
    half = TfdsSplit(directory, split="train[:50%]")
    assert 10 < len(list(half.documents())) < 20
    assert half.fingerprint() != TfdsSplit(directory).fingerprint()


@pytest.mark.parametrize(
    "split, message",
    [
        ({"split": "valid"}, "split 'valid' .* it has the splits .*train"),
        ({"feature": "body"}, "no text feature 'body'; it has .*text"),
        ({"feature": "n"}, "no text feature 'n'"),
        ({"feature": "raw"}, "not UTF-8 at byte 0"),
        ({"name": "no_such_set_at_all"}, "no_such_set_at_all cannot be had"),
        ({"name": "/no/such/place"}, "/no/such/place cannot be had"),
    ],
)
def test_mistakes_are_one_line(directory, split, message):
    with pytest.raises(UserError, match=message) as caught:
        list(TfdsSplit(**{"name": directory} | split).documents())
    assert "\n" not in str(caught.value)


def test_files_that_need_tensorflow_are_refused(directory, tmp_path):
    copy = tmp_path / "1.0.0"
    shutil.copytree(directory, copy)
    info = copy / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(UserError, match="prepared with file_format"):
        list(TfdsSplit(str(copy)).documents())
