"""Exact match and F1 of answers out of a passage, with SQuAD's normalisation and MLQA's, which knows languages."""

import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial

from saltjax.evaluate.task import Question, Scores

Normalise = Callable[[str], str]

# MLQA, mlqa_evaluation_v1.py. Its Arabic pattern is written `\\sال^|ال`, whose first half can match nothing: what it
# does is to take ال out wherever it stands, inside of words too, and a score that is to be MLQA's has to do the same.
ARTICLES = {
    "en": r"\b(a|an|the)\b",
    "es": r"\b(un|una|unos|unas|el|la|los|las)\b",
    "vi": r"\b(của|là|cái|chiếc|những)\b",
    "de": r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "ar": r"ال",
    "hi": None,
    "zh": None,
}
CHINESE = r"[\u4e00-\u9fa5]"


def squad(text: str) -> str:
    """Lower case, no ASCII punctuation, no English articles, single spaces (SQuAD v1.1, Rajpurkar et al. 2016).

    XQuAD and TyDiQA-GoldP are scored with it in all languages.
    """
    text = text.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(re.sub(ARTICLES["en"] or "", " ", text).split())


def mlqa(text: str, language: str) -> str:
    """MLQA's (Lewis et al. 2020, section 4.1; mlqa_evaluation_v1.py): all Unicode punctuation, the language's articles.

    `language` is that of the answer, which is the context's. Chinese is cut into characters.
    """
    text = text.lower().translate(_punctuation())
    if ARTICLES[language]:
        text = re.sub(ARTICLES[language] or "", " ", text)
    if language == "zh":
        text = re.sub(CHINESE, r" \g<0> ", text)
    return " ".join(text.split())


@cache
def _punctuation() -> dict[int, None]:
    categories = (point for point in range(sys.maxunicode) if unicodedata.category(chr(point)).startswith("P"))
    return dict.fromkeys([*categories, *map(ord, string.punctuation)])


def f1(prediction: str, answer: str, normalise: Normalise) -> float:
    """Harmonic mean of precision and recall of the words, each counted as often as it occurs in both; 0 if none is."""
    found, wanted = normalise(prediction).split(), normalise(answer).split()
    common = (Counter(found) & Counter(wanted)).total()
    return 2 * common / (len(found) + len(wanted)) if common else 0.0


def exact_match(prediction: str, answer: str, normalise: Normalise) -> float:
    return float(normalise(prediction) == normalise(answer))


def best(question: Question, prediction: str, normalise: Normalise) -> Scores:
    """Each metric's largest value over the accepted answers."""
    answers: Sequence[str] = question.gold
    return {
        metric.__name__: max(metric(prediction.strip(), answer, normalise) for answer in answers)
        for metric in (f1, exact_match)
    }


score_squad = partial(best, normalise=squad)


def score_mlqa(language: str) -> Callable[[Question, str], Scores]:
    return partial(best, normalise=partial(mlqa, language=language))
