"""Translation data for SLAM and QAlign: problems of a language to be put into English, from parallel problems.

The instruction is QAlign's (Zhu et al. 2024, its published code), "Translate the following sentences from German to
English."; SLAM's own prompts are not published. QAlign's first stage and SLAM learn questions; SLAM's code names
answers, too, in a direction that is not known (here into English, ours).
"""

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from saltjax.data.corpus import json_object, kind_of
from saltjax.data.files import lines
from saltjax.errors import UserError

ENGLISH = "en"
NAMES = {
    "ar": "Arabic", "bn": "Bengali", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "hi": "Hindi",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "pt": "Portuguese",
    "ru": "Russian", "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "th": "Thai", "tr": "Turkish", "ur": "Urdu",
    "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip


class Pair(NamedTuple):
    language: str
    text: str
    english: str


def pairs(files: Mapping[str, str | Path], field: str) -> Iterator[Pair]:
    """The problems of each language beside the English ones, problem by problem.

    With a file for `en`, line i of all files is the same problem: its first tab-separated column, or in JSON lines its
    `field`. Without one, a line is English, tab, the translation.

    Raises UserError: no language but English; a language without a known name; files of unequal length; a line without
    such a column or field.
    """
    if not set(files) - {ENGLISH}:
        raise UserError("give parallel problems, such as en=mgsm_en.tsv de=mgsm_de.tsv, or de=english-german.tsv")
    if unknown := [language for language in files if language not in NAMES and not language[:1].isupper()]:
        raise UserError(f"{unknown[0]}: no name is known for it; write it as in Swahili=FILE")
    texts = {language: _texts(path, field, english=ENGLISH not in files) for language, path in files.items()}
    for number, row in enumerate(zip_longest(*texts.values()), start=1):
        if ENGLISH not in files:
            yield from (Pair(one, *reversed(pair)) for one, pair in zip(texts, row, strict=True) if pair)
        elif None in row:
            short = list(files)[row.index(None)]
            raise UserError(
                f"{files[short]} ends before line {number:,}, another file does not; line i must be one problem"
            )
        else:
            problem = {language: text for language, (text,) in zip(texts, row, strict=True)}
            yield from (Pair(one, text, problem[ENGLISH]) for one, text in problem.items() if one != ENGLISH)


def example(pair: Pair) -> str:
    """A line of JSON that `saltjax finetune` reads."""
    name = NAMES.get(pair.language, pair.language)
    instruction = f"Translate the following sentences from {name} to English."
    return json.dumps({"instruction": instruction, "input": pair.text, "output": pair.english}, ensure_ascii=False)


def _texts(path: str | Path, field: str, english: bool) -> Iterator[tuple[str, ...]]:
    """The text of each line, or with `english` both."""
    for number, line in lines(path):
        where = f"{path}, line {number}"
        if kind_of(path) == "jsonl" and not english:
            text = json_object(line, where).get(field)
            if not isinstance(text, str):
                raise UserError(f"{where}: no text in {field!r}; name another --field")
            yield (text.strip(),)
        else:
            columns = line.rstrip("\r").split("\t")
            if english and len(columns) < 2:
                raise UserError(f"{where}: no tab; without en=FILE a line is English, tab, the translation")
            yield tuple(column.strip() for column in columns[: 2 if english else 1])
