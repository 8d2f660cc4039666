"""How good answers are: one number between 0 and 1 each, by libraries where there are some.

Every metric is a function of (rows, answers, language) that gives {name: values}, one value an answer; the first name
is the task's score.
"""

import unicodedata
from collections.abc import Callable, Sequence

import regex

from saltjax.errors import UserError
from saltjax.evaluate.extractive import f1
from saltjax.evaluate.numbers import TOLERANCE, readings
from saltjax.study.rows import Row

Values = dict[str, list[float]]
Metric = Callable[[Sequence[Row], Sequence[str], str], Values]

# Scripts that are written without spaces between words: every character is a word to ROUGE.
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
WORD = regex.compile(rf"[{UNSPACED}]\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--[{UNSPACED}]]+", regex.V1)
RUN = regex.compile(r"[\p{L}\p{M}\p{N}]+")


class Words:
    """ROUGE's tokens in all scripts (ours): runs of letters, marks and digits, lower case, NFKC; single characters of
    scripts without spaces. The library's own rule keeps a-z and 0-9 alone: an Arabic text has no tokens there.
    English texts without apostrophes and accents get the library's tokens. No stemming."""

    def tokenize(self, text: str) -> list[str]:
        return WORD.findall(unicodedata.normalize("NFKC", text).lower())


def rouge(rows: Sequence[Row], answers: Sequence[str], language: str) -> Values:
    """F1 of the longest common subsequence of words (ROUGE-L, Lin 2004), and of words and pairs of them (ROUGE-1, -2):
    Google's rouge_score with the tokens of `Words`."""
    from rouge_score.rouge_scorer import RougeScorer

    names = ("rougeL", "rouge1", "rouge2")
    scorer = RougeScorer(list(names), tokenizer=Words())
    scores = [scorer.score(row.completion, answer) for row, answer in zip(rows, answers, strict=True)]
    return {name: [float(one[name].fmeasure) for one in scores] for name in names}


def chrf(rows: Sequence[Row], answers: Sequence[str], language: str) -> Values:
    """chrF2 (Popović 2015: character n-grams up to 6, beta 2) of each answer by sacrebleu, divided by 100. Its mean
    over answers is not the corpus chrF, which weighs long answers more."""
    from sacrebleu.metrics import CHRF

    scorer = CHRF()
    pairs = zip(rows, answers, strict=True)
    return {"chrf": [scorer.sentence_score(answer, [row.completion]).score / 100 for row, answer in pairs]}


def exact(rows: Sequence[Row], answers: Sequence[str], language: str) -> Values:
    """Equal but for case, width, punctuation and spaces; and F1 of the words."""
    pairs = list(zip(rows, answers, strict=True))
    return {
        "exact": [float(plain(answer) == plain(row.completion)) for row, answer in pairs],
        "f1": [f1(answer, row.completion, plain) for row, answer in pairs],
    }


def plain(text: str) -> str:
    """NFKC, case folded, runs of letters, marks and digits alone."""
    return " ".join(RUN.findall(unicodedata.normalize("NFKC", text).casefold()))


def maths(rows: Sequence[Row], answers: Sequence[str], language: str) -> Values:
    """The last number of the answer is the right one (`evaluate.numbers`), which is the row's `answer`, else the last
    number of its completion."""

    def right(row: Row, answer: str) -> bool:
        golds = _gold(row, language)
        return any(abs(found - gold) < TOLERANCE for found in readings(answer, language) for gold in golds)

    return {"acc": [float(right(row, answer)) for row, answer in zip(rows, answers, strict=True)]}


def _gold(row: Row, language: str) -> list[float]:
    if isinstance(row.answer, int | float):
        return [float(row.answer)]
    return readings(row.completion if row.answer is None else str(row.answer), language)


def check_golds(rows: Sequence[Row], language: str, where: str) -> None:
    """Raises UserError: a row has no number to compare with."""
    for row in rows:
        if not _gold(row, language):
            raise UserError(f"{where}: no number in the right answer {row.completion[:60]!r}; metric: maths needs one")


METRICS: dict[str, Metric] = {"rouge": rouge, "chrf": chrf, "exact": exact, "maths": maths}
