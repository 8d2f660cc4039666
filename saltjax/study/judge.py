"""A model that says how good an answer is: behind an OpenAI-compatible endpoint, or loaded here."""

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from saltjax.errors import UserError
from saltjax.study.design import Judge
from saltjax.study.metrics import Metric, Values
from saltjax.study.rows import Row
from saltjax.study.scoring import Subject, answers

# Ours: absolute, 1 to 10, with a reference, in one call an answer.
PROMPT = """You grade an answer that an assistant gave.

[Task]
{prompt}

[Reference answer]
{reference}

[Answer to grade]
{answer}

Consider whether it does what was asked, is right, and is written in the language of the reference ({language}).
Reply with one line, Rating: N, where N is a whole number from 1 (useless) to 10 (at least as good as the reference)."""
RATING = re.compile(r"[Rr]ating\W{0,4}(10|[1-9])\b")
MOST = 10  # the best rating
TOKENS = 64  # of a judgement
AT_ONCE = 8  # requests under way
WAITS = (1.0, 4.0)  # seconds before each further try of a request
TIMEOUT = 120.0

Ask = Callable[[Sequence[str]], list[str]]  # prompts -> what the judge says


def judged(ask: Ask, rows: Sequence[Row], answers: Sequence[str], language: str) -> Values:
    """judge: (N - 1) / 9; `unjudged` is 1 where the reply has no rating, and such an answer counts as 0."""
    prompts = [
        PROMPT.format(prompt=row.prompt, reference=row.completion, answer=answer, language=language)
        for row, answer in zip(rows, answers, strict=True)
    ]
    found = [RATING.search(reply) for reply in ask(prompts)]
    return {
        "judge": [(int(one[1]) - 1) / (MOST - 1) if one else 0.0 for one in found],
        "unjudged": [float(one is None) for one in found],
    }


def endpoint(judge: Judge) -> Ask:
    """Asks URL/chat/completions at temperature 0, several requests at once, each three times before it gives up.

    Raises UserError, with what the endpoint said, when a request fails for good: a score is never made up.
    """
    url, key = f"{judge.url.rstrip('/')}/chat/completions", os.environ.get(judge.key, "")
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def one(prompt: str) -> str:
        body = {
            "model": judge.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": TOKENS,
        }
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        for wait in (*WAITS, None):
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
                    return _text(json.load(reply))
            except (OSError, ValueError, LookupError, TypeError) as error:
                if wait is None or (isinstance(error, urllib.error.HTTPError) and error.code in (400, 401, 403, 404)):
                    said = error.read(200).decode(errors="replace") if isinstance(error, urllib.error.HTTPError) else ""
                    raise UserError(f"judge {url}: {error} {' '.join(said.split())}".rstrip()) from None
                time.sleep(wait)
        raise AssertionError

    def ask(prompts: Sequence[str]) -> list[str]:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(one, prompts))

    return ask


def _text(reply: Any) -> str:
    return str(reply["choices"][0]["message"]["content"] or "")


def local(subject: Subject) -> Ask:
    """A model that is loaded here; greedy."""

    def ask(prompts: Sequence[str]) -> list[str]:
        like = {"role": "assistant", "content": "Rating: 1"}
        rows = [Row("", [{"role": "user", "content": one}, like]) for one in prompts]
        return [one.text for one in answers(subject, rows, TOKENS)]

    return ask


def asking(judge: Judge, load: Callable[[str], Subject]) -> Metric:
    """The judge as a metric; a model that is not at an endpoint is loaded when it is first asked."""
    asks: list[Ask] = []

    def metric(rows: Sequence[Row], texts: Sequence[str], language: str) -> Values:
        if not asks:
            asks.append(endpoint(judge) if judge.url else local(load(judge.model)))
        return judged(asks[0], rows, texts, language)

    return metric
