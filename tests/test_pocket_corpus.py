"""The pocket text: parallel, split by document, nothing held out is ever seen."""

import pytest

from saltjax.pocket.corpus import LANGUAGES, documents, mostly_english, split_of, write_text


def test_every_language_has_the_same_documents_in_the_same_split():
    sizes = {language: [len(documents(language, split)) for split in ("train", "valid")] for language in LANGUAGES}
    assert len(set(map(tuple, sizes.values()))) == 1
    train, valid = sizes["en"]
    assert train + valid == 872 and 0.05 < valid / (train + valid) < 0.11
    # a word problem's numbers are written with the same digits in every language: a check of the order
    for split in ("train", "valid"):
        for english, german in zip(documents("en", split), documents("de", split), strict=True):
            if english.startswith("A boy has"):
                assert {c for c in english if c.isdigit()} == {c for c in german if c.isdigit()}


def test_the_split_is_a_fixed_function_of_the_document_id():
    assert [n for n in range(1, 40) if split_of(f"everyday-{n:03}") == "valid"] == [18, 27, 32]
    assert documents("de") == documents("de")


def test_no_held_out_sentence_is_in_the_training_text():
    for language in LANGUAGES:
        train = set(documents(language))
        assert not train & set(documents(language, "valid"))
        assert all(line and "\n" not in line for line in train)


def test_questions_of_one_context_are_one_document():
    bakery = [line for line in documents("en") + documents("en", "valid") if line.startswith("The bakery opens at six")]
    assert len(bakery) == 1
    assert "When does the bakery open? at six in the morning" in bakery[0]


def test_mostly_english_adds_a_share_of_the_other_language():
    english, german = documents("en"), documents("de")
    assert mostly_english("de", 0.0) == english
    mixed = mostly_english("de", 0.1)
    added = [line for line in mixed if line in set(german)]
    assert len(added) == int(0.1 * len(german)) and len(mixed) == len(english) + len(added)
    assert not set(mixed) & set(documents("de", "valid") + documents("en", "valid"))
    assert mixed.index(added[0]) < 20  # spread out, not appended


def test_text_files_end_lines_with_a_newline_only(tmp_path):
    lines = ["eins", "zwei\u2028noch zwei", "drei"]
    assert write_text(lines, tmp_path / "x.txt").read_bytes() == "eins\nzwei\u2028noch zwei\ndrei\n".encode()


@pytest.mark.parametrize(("language", "split"), [("fr", "train"), ("de", "test")])
def test_unknown_language_or_split(language, split):
    with pytest.raises(ValueError, match=language if split == "train" else split):
        documents(language, split)
