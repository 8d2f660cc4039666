"""The models that come with the package: an English-centric LLM of 2.4 M parameters, and three PLMs of 1 M.

`scripts/make_pocket_models.py` made them; `weights/README.md` says from what, and `weights/card.json` how well.
"""

from importlib import resources
from pathlib import Path

LANGUAGES = ("de", "ar", "vi")


def pocket_llm() -> Path:
    """A Llama with a byte-level BPE of 4,096 tokens, trained on English and a little German, Arabic and Vietnamese."""
    return _weights() / "llm"


def pocket_plm(language: str) -> Path:
    """A BERT with a cased WordPiece vocabulary of 4,096 tokens, trained on text of one language alone."""
    if language not in LANGUAGES:
        raise ValueError(f"language {language!r} is not one of {', '.join(LANGUAGES)}")
    return _weights() / f"plm-{language}"


def _weights() -> Path:
    return Path(str(resources.files("saltjax.pocket") / "weights"))
