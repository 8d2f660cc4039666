"""PAWS-X (Yang et al. 2019, arXiv 1908.11828): do two sentences of nearly the same words mean the same?

Prompt: lm-evaluation-harness' `paws_LANG`: the whole text `SENTENCE 1, right? No|Yes, SENTENCE 2` is the choice, with
no context before it; its words, and its clean-up of the sentences in European languages. Metric: acc, acc_norm. Source:
google-research-datasets/paws, here as `{test,dev}-LANG.tsv` (sentence 1, sentence 2, label); test where it is there.
"""

import re

from saltjax.evaluate.choices import accuracies
from saltjax.evaluate.formats import tab_separated
from saltjax.evaluate.sets import Sets, Split
from saltjax.evaluate.task import Question, Task
from saltjax.evaluate.tasks.labels import chosen

WORDS = {  # right?, no, yes
    "de": ("richtig", "Nein", "Ja"),
    "en": ("right", "No", "Yes"),
    "es": ("verdad", "No", "Sí"),
    "fr": ("n'est-ce pas", "Non", "Oui"),
    "ja": ("ですね", "いいえ", "はい"),
    "ko": ("맞죠", "아니요", "예"),
    "zh": ("对吧", "不是", "是"),
}
LANGUAGES = tuple(WORDS)


def task(sets: Sets, language: str) -> Task:
    name = f"pawsx:{language}"
    read = tab_separated("sentence1", "sentence2", "label")
    splits = [
        Split(
            f"pawsx/{file}-{language}.tsv",
            read,
            hub=("google-research-datasets/paws-x", language, split),
            tfds=(f"paws_x_wiki/{language}", split),
        )
        for file, split in (("test", "test"), ("dev", "validation"))
    ]
    rows = sets.rows(name, splits)
    right, *words = WORDS[language]
    questions = []
    for number, (where, row) in enumerate(rows):
        first, second = row["sentence1"], row["sentence2"]
        if not first or not second:
            continue
        if language in ("de", "en", "es", "fr"):
            first, second = re.sub("[.,;]$", "", joined(first)), lower_first(joined(second))
        choices = tuple(f"{first}, {right}? {word}, {second}" for word in words)
        questions.append(Question(str(number), "", chosen(row["label"], ("0", "1"), where), choices, before=""))
    return Task(name, tuple(questions), accuracies, rows.source)


def joined(sentence: str) -> str:
    """Without the spaces that a tokenizer put before punctuation and inside of brackets and quotation marks."""
    for apart, together in ((" n't", "n't"), (" )", ")"), ("( ", "("), ('" ', '"'), (' "', '"')):
        sentence = sentence.replace(apart, together)
    return re.sub(r" (['.,])", r"\1", sentence).strip()


def lower_first(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
