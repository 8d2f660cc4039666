"""What MGSM, MSVAMP and GSM8K share: a word problem, an answer in steps, its last number.

    Frage: ...  (line end)  Schritt-für-Schritt-Antwort:

The words are those of MGSM's own examples (Shi et al. 2022, arXiv 2210.03057), as in lm-evaluation-harness'
`mgsm_native_cot_LANG`. The text ends where the next problem would begin.
"""

from functools import partial

from saltjax.evaluate.numbers import last_number
from saltjax.evaluate.task import Question, Task

MAX_NEW = 512

WORDS = {
    "bn": ("প্রশ্ন", "ধাপে ধাপে উত্তর"),
    "de": ("Frage", "Schritt-für-Schritt-Antwort"),
    "en": ("Question", "Step-by-Step Answer"),
    "es": ("Pregunta", "Respuesta paso a paso"),
    "fr": ("Question", "Réponse étape par étape"),
    "ja": ("問題", "ステップごとの答え"),
    "ru": ("Задача", "Пошаговоерешение"),
    "sw": ("Swali", "Jibu la Hatua kwa Hatua"),
    "te": ("ప్రశ్న", "దశలవారీగా సమాధానం"),
    "th": ("โจทย์", "คำตอบทีละขั้นตอน"),
    "zh": ("问题", "逐步解答"),
}


def question(id: str, language: str, text: str, gold: float, answer: str = "") -> Question:
    """`answer` is the worked one, where the set has it."""
    ask, reply = WORDS[language]
    return Question(id, f"{ask}: {text}\n{reply}:", gold, answer=answer or f"{gold:g}")


def maths(name: str, language: str, questions: tuple[Question, ...], source: str, **more) -> Task:
    score = partial(last_number, language=language)
    return Task(name, questions, score, source, stops=(f"{WORDS[language][0]}:",), max_new=MAX_NEW, **more)
