"""XNLI (Conneau et al. 2018, arXiv 1809.05053): does the hypothesis follow, not follow, or contradict the premise?

Prompt: lm-evaluation-harness' `xnli_LANG`: the whole text `PREMISE, right? Yes|Also|No, HYPOTHESIS` is the choice, with
no context before it; the words are its words. Metric: acc, acc_norm. Source: facebookresearch/XNLI, here as
`dev-LANG.tsv` (premise, hypothesis, label); the validation split, as lm-evaluation-harness takes it.
"""

from saltjax.evaluate.choices import accuracies
from saltjax.evaluate.formats import tab_separated
from saltjax.evaluate.sets import Sets, Split
from saltjax.evaluate.task import Question, Task
from saltjax.evaluate.tasks.labels import chosen

LABELS = ("entailment", "neutral", "contradiction")
WORDS = {  # right?, entailment, neutral, contradiction
    "ar": ("صحيح", "نعم", "لذا", "رقم"),
    "bg": ("правилно", "да", "така", "не"),
    "de": ("richtig", "Ja", "Auch", "Nein"),
    "el": ("σωστός", "Ναί", "Έτσι", "όχι"),
    "en": ("right", "Yes", "Also", "No"),
    "es": ("correcto", "Sí", "Asi que", "No"),
    "fr": ("correct", "Oui", "Aussi", "Non"),
    "hi": ("सही", "हाँ", "इसलिए", "नहीं"),
    "ru": ("правильно", "Да", "Так", "Нет"),
    "sw": ("sahihi", "Ndiyo", "Hivyo", "Hapana"),
    "th": ("ถูกต้อง", "ใช่", "ดังนั้น", "ไม่"),
    "tr": ("doğru", "Evet", "Böylece", "Hayır"),
    "ur": ("صحیح", "جی ہاں", "اس لئے", "نہیں"),
    "vi": ("đúng", "Vâng", "Vì vậy", "Không"),
    "zh": ("正确", "是的", "所以", "不是的"),
}
LANGUAGES = tuple(WORDS)


def task(sets: Sets, language: str) -> Task:
    name = f"xnli:{language}"
    read = tab_separated("premise", "hypothesis", "label")
    split = Split(f"xnli/dev-{language}.tsv", read, hub=("facebook/xnli", language, "validation"))
    rows = sets.rows(name, [split])
    right, *words = WORDS[language]
    questions = []
    for number, (where, row) in enumerate(rows):
        choices = tuple(f"{row['premise']}, {right}? {word}, {row['hypothesis']}" for word in words)
        questions.append(Question(str(number), "", chosen(row["label"], LABELS, where), choices))
    return Task(name, tuple(questions), accuracies, rows.source)
