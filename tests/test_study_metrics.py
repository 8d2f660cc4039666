"""What answers are worth: the libraries' numbers, all scripts, and a judge behind a local stub of an endpoint."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import zoo
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import CHRF

from saltjax.errors import UserError
from saltjax.study import judge as judging
from saltjax.study.design import Judge
from saltjax.study.metrics import Words, check_golds, chrf, exact, maths, rouge
from saltjax.study.rows import Row
from saltjax.study.trained import stored_subject

ENGLISH = "The quick brown fox jumps over 12 lazy dogs, and runs away."


def right(completion, answer=None):
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": completion}]
    return Row("", turns, answer)


def test_rouge_is_the_librarys_in_english():
    said = "A quick fox jumps over the dogs and runs."
    ours = rouge([right(ENGLISH)], [said], "en")
    theirs = RougeScorer(["rougeL", "rouge1", "rouge2"]).score(ENGLISH, said)
    assert next(iter(ours)) == "rougeL"
    assert {name: values[0] for name, values in ours.items()} == {name: one.fmeasure for name, one in theirs.items()}


def test_words_in_all_scripts():
    words = Words().tokenize
    assert words("Die Bäckerei, um 6!") == ["die", "bäckerei", "um", "6"]
    assert words("يفتح المخبز في السادسة.") == ["يفتح", "المخبز", "في", "السادسة"]
    assert words("हिन्दी में") == ["हिन्दी", "में"]  # marks belong to their letters
    assert words("私は本 GPT4 を読む") == ["私", "は", "本", "gpt4", "を", "読", "む"]
    assert words("ที่นี่") == ["ที่", "นี่"]
    arabic = ["يفتح المخبز في السادسة", "يفتح المخبز"]
    assert rouge([right(arabic[0])], [arabic[1]], "ar")["rougeL"] == [pytest.approx(2 * 1 * 0.5 / 1.5)]


def test_chrf_is_sacrebleus():
    answers = ["Der Fuchs springt.", "", ENGLISH]
    rows = [right("Der Fuchs sprang weg."), right("a"), right(ENGLISH)]
    found = chrf(rows, answers, "de")["chrf"]
    pairs = zip(answers, rows, strict=True)
    assert found == [CHRF().sentence_score(answer, [row.completion]).score / 100 for answer, row in pairs]
    assert found[1] == 0 and found[2] == pytest.approx(1)


def test_exact_knows_no_case_width_or_punctuation():
    rows = [right("Um sechs Uhr."), right("في السادسة"), right("12"), right("क्षमा")]
    found = exact(rows, ["um  sechs uhr", "السادسة", "１２!", "क्षमा"], "de")
    assert found["exact"] == [1, 0, 1, 1] and found["f1"] == [1, pytest.approx(2 / 3), 1, 1]


def test_maths_takes_the_last_number():
    rows = [right("7 + 5 = 12. Die Antwort ist 12."), right("x", answer=1250), right("x", answer="3,5")]
    assert maths(rows, ["Also 13, nein: 12", "1.250 Äpfel", "3.5"], "de")["acc"] == [1, 1, 1]
    assert maths(rows, ["12, nein: 13", "keine", "36"], "de")["acc"] == [0, 0, 0]
    with pytest.raises(UserError, match=r"here: no number in the right answer 'none'"):
        check_golds([right("12"), right("none")], "en", "here")


class Stub(BaseHTTPRequestHandler):
    """Rates the answer by its first word; `busy` and `broken` fail once, and always."""

    seen: ClassVar[Counter] = Counter()
    keys: ClassVar[set] = set()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = body["messages"][0]["content"]
        word = asked.split("[Answer to grade]\n")[1].split()[0]
        self.seen[word] += 1
        self.keys.add((self.path, self.headers["Authorization"], body["model"], body["temperature"]))
        if word == "broken" or (word == "busy" and self.seen[word] == 1):
            self.send_response(503)
            self.end_headers()
            self.wfile.write(b"overloaded")
            return
        if word == "secret":
            self.send_response(401)
            self.end_headers()
            self.wfile.write(b"no such key")
            return
        said = {"good": "Rating: 10", "poor": "I think.\n**Rating:** 1", "busy": "rating: 4"}.get(word, "It is fine.")
        reply = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *words):
        pass


@pytest.fixture
def endpoint(monkeypatch):
    monkeypatch.setattr(judging, "WAITS", (0.0, 0.0))
    monkeypatch.setenv("STUB_KEY", "k3y")
    Stub.seen, Stub.keys = Counter(), set()
    server = ThreadingHTTPServer(("localhost", 0), Stub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Judge("grader", f"http://localhost:{server.server_port}/v1/", "STUB_KEY")
    server.shutdown()


def test_a_judge_rates_every_answer(endpoint):
    metric = judging.asking(endpoint, lambda model: pytest.fail("nothing is to be loaded"))
    answers = ["poor thing", "good thing", "busy thing", "other thing"]
    found = metric([right("R")] * 4, answers, "en")
    assert found == {"judge": [0, 1, pytest.approx(3 / 9), 0], "unjudged": [0, 0, 0, 1]}
    assert Stub.keys == {("/v1/chat/completions", "Bearer k3y", "grader", 0)} and Stub.seen["busy"] == 2


@pytest.mark.parametrize(("word", "tries", "said"), [("broken", 3, "503.*overloaded"), ("secret", 1, "401.*key")])
def test_a_judge_that_does_not_answer_makes_up_no_score(endpoint, word, tries, said):
    with pytest.raises(UserError, match=said):
        judging.asking(endpoint, lambda model: None)([right("R")], [word], "en")
    assert Stub.seen[word] == tries


def test_the_judge_is_told_everything(endpoint):
    prompts = []

    def ask(some):
        prompts.extend(some)
        return ["Rating: 7"]

    assert judging.judged(ask, [right("Because.")], ["So {braces}."], "en")["judge"] == [pytest.approx(6 / 9)]
    assert all(part in prompts[0] for part in ("Why?", "Because.", "So {braces}.", "(en)"))


def test_a_model_from_disk_can_judge(tmp_path):
    """A tiny one that has learned nothing: its words are no rating, which is reported and counts as 0."""
    model = zoo.llama(tmp_path / "llm", dtype="float32")
    metric = judging.asking(Judge(str(model)), lambda directory: stored_subject(Path(directory)))
    assert metric([right("R")], ["something"], "en") == {"judge": [0], "unjudged": [1]}
