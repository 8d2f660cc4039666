"""How many tokens a word costs now, and how many it will."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saltjax.data.corpus import TextFile
from saltjax.transfer.surgery import Patient
from saltjax.vocab.fertility import usage
from saltjax.vocab.vocabulary import Vocabulary, word

SAMPLE = 200_000  # characters


def fertility(patient: Patient, donor: Patient, texts: Sequence[str | Path]) -> dict[str, Any]:
    """{source, target, text}: tokens a word on up to 200,000 characters of a text, or on the target's own words."""
    if texts:
        text, name, size = [], str(texts[0]), 0
        for document in TextFile(Path(texts[0])).documents():
            text.append(document[: SAMPLE - size])
            size += len(text[-1])
            if size >= SAMPLE:
                break
        sample = "\n".join(text)
    else:
        name = "the target vocabulary's own words"
        sample = " ".join(_whole_words(donor.vocabulary))
    counted = [usage(tokenizer, [sample]).fertility for tokenizer in (patient.tokenizer, donor.tokenizer)]
    return {"source": counted[0], "target": counted[1], "text": name}


def _whole_words(vocabulary: Vocabulary) -> list[str]:
    starts = (t for t in vocabulary.tokens if t.surface is not None and t.surface.word_start)
    return [text for text in map(word, starts) if text and text.isalpha()]
