"""Translation data from parallel problems."""

import json
import lzma

import pytest

from saltjax import api
from saltjax.data.examples import ExampleFile, messages
from saltjax.errors import UserError


def rows(path):
    return [messages(row) for row in ExampleFile(path).documents()]


def test_line_i_of_all_files_is_one_problem(tmp_path):
    (tmp_path / "en.tsv").write_text("Who?\t1\nWhere?\t2\nX\t3\n", encoding="utf-8")
    (tmp_path / "de.tsv").write_text("Wer?\t1\nWo?\t2\nX\t3\n", encoding="utf-8")
    lines = [{"prompt": "Nani?"}, {"prompt": " "}, {"prompt": "Y"}]
    (tmp_path / "sw.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    files = [f"{name.partition('.')[0]}={tmp_path}/{name}" for name in ("en.tsv", "de.tsv", "sw.jsonl")]
    record = api.layers_questions(tmp_path / "q.jsonl", files, field="prompt")
    assert record["examples"] == {"de": 2, "sw": 2} and record["left_out"] == {"de": 1, "sw": 1}
    found = rows(tmp_path / "q.jsonl")
    assert [turns[1]["content"] for turns in found] == ["Who?", "Who?", "Where?", "X"]
    assert found[0][0]["content"] == "Translate the following sentences from German to English.\nWer?"
    assert found[3][0]["content"] == "Translate the following sentences from Swahili to English.\nY"

    with pytest.raises(UserError, match=r"q\.jsonl exists already"):
        api.layers_questions(tmp_path / "q.jsonl", files)
    with pytest.raises(UserError, match=r"sw\.jsonl, line 1: no text in 'question'; name another --field"):
        api.layers_questions(tmp_path / "r.jsonl", files)
    (tmp_path / "en.tsv").write_text("Who?\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"en\.tsv ends before line 2, another"):
        api.layers_questions(tmp_path / "r.jsonl", files[:2])
    (tmp_path / "en.tsv").write_text("X\nWhere?\nX\n", encoding="utf-8")
    (tmp_path / "same.tsv").write_text("X\nWhere?\nX\n", encoding="utf-8")
    same = f"vi={tmp_path}/same.tsv"
    with pytest.raises(UserError, match="no problem with its translation in it; 3 left out"):
        api.layers_questions(tmp_path / "r.jsonl", [files[0], same])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["de.tsv", "en.tsv", "q.jsonl", "same.tsv", "sw.jsonl"]
    record = api.layers_questions(tmp_path / "q.jsonl", [*files[:2], same], overwrite=True)
    assert record["examples"] == {"de": 2, "vi": 0} and record["left_out"] == {"de": 1, "vi": 3}
    with pytest.raises(UserError, match="is a directory; name a file"):
        api.layers_questions(tmp_path, files, overwrite=True)


def test_pairs_in_one_file_and_what_is_refused(tmp_path):
    path = tmp_path / "en-eo.tsv.xz"
    path.write_bytes(lzma.compress(b"Who?\tKiu?\nWhere?\tKie?\n"))
    record = api.layers_questions(tmp_path / "q.jsonl", [f"Esperanto={path}"])
    assert record["examples"] == {"Esperanto": 2}
    [_, (ask, answer)] = rows(tmp_path / "q.jsonl")
    assert ask["content"].endswith("from Esperanto to English.\nKie?") and answer["content"] == "Where?"
    for files, says in [
        ([f"eo={path}"], "eo: no name is known for it; write it as in Swahili=FILE"),
        ([str(path)], "write LANG=FILE"),
        ([f"en={path}"], "give parallel problems"),
        ([f"de={tmp_path}/q.jsonl"], "line 1: no tab; without en=FILE"),
    ]:
        with pytest.raises(UserError, match=says):
            api.layers_questions(tmp_path / "r.jsonl", files)
