"""The last number of a worked answer, compared with the right one."""

import re

from saltjax.evaluate.task import Question, Scores

NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*")
COMMA_DECIMALS = ("de", "es", "fr", "ru", "vi")  # which write 80.000 and 3,5 where English has 80,000 and 3.5
TOLERANCE = 1e-3


def readings(text: str, language: str = "en") -> list[float]:
    """What the last number in a text may mean; nothing if there is none.

    Commas are dropped and a point is decimal (MathOctopus' evaluator, Chen et al. 2024). In languages that do it the
    other way round the number is read their way too (ours): a German 80.000 is 80 or 80,000. Digits of all scripts.
    """
    found = NUMBER.findall(text)
    if not found:
        return []
    ways = [found[-1].replace(",", "")]
    if language in COMMA_DECIMALS:
        ways.append(found[-1].replace(".", "").replace(",", "."))
    return [float(way) for way in dict.fromkeys(ways) if way.count(".") <= 1]


def last_number(question: Question, text: str, language: str = "en") -> Scores:
    """acc: the last number in the text is the right one, within 1e-3 (MathOctopus' tolerance)."""
    return {"acc": float(any(abs(value - question.gold) < TOLERANCE for value in readings(text, language)))}


def number(text: str) -> float:
    """A right answer as the sets write it: English, maybe with commas. Raises ValueError."""
    return float(text.strip().replace(",", ""))
