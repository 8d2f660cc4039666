"""What the Okapi sets share (Lai et al. 2023, arXiv 2307.16039: English sets, translated by ChatGPT)."""

import re

LANGUAGES = tuple(
    "ar bn ca da de en es eu fr gu hi hr hu hy id is it kn ml mr nb ne nl pt ro ru sk sr sv ta te uk vi zh".split()
)
LETTERS = ("A", "B", "C", "D", "E")


def cleaned(text: str | None) -> str:
    """As lm-evaluation-harness cleans them: WikiHow's `[title]` is a full stop, other brackets go, so do two spaces."""
    if text is None:
        return " "
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def options(row: dict) -> list[str]:
    """The options that a row has, A to E."""
    return [row[f"option_{letter.lower()}"] for letter in LETTERS if row.get(f"option_{letter.lower()}")]
