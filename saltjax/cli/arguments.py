"""`--text a b c steps=10` as the parser wants it: one value an option, settings after the rest."""

import re

# Options that take several files, as in `--text a.txt b.txt`.
SEVERAL = ("--text", "--aux-text", "--data")
EXAMPLES = re.compile(r"\.(jsonl|ndjson)(\.(gz|xz|zst))?(=[\d.]+)?$")  # a file of examples, maybe with its weight
NAMED = re.compile(r"=.*\.(txt|jsonl|ndjson|parquet)(\.(gz|xz|zst))?$")  # NAME=FILE, which is no setting


def one_value_each(arguments: list[str]) -> list[str]:
    """Repeat an option of several values before each of them: `--text a b` becomes `--text a --text b`.

    The first word after such an option is its value whatever it looks like; of the following ones, `key=value`
    settings are not (`--text LANG=FILE` of the commands that measure neurons and layers excepted, NAME=FILE.jsonl, and
    after `--valid` what names a file of text).
    """
    by_language = arguments[:1] in (["neurons"], ["layers"]) and arguments[1:2] != ["tune"]
    several = [option for option in SEVERAL if option != "--data" or arguments[:1] != ["evaluate"]]  # there it is one
    several += ["--valid"] if arguments[:1] in (["adapt"], ["finetune"], ["neurons"]) else []
    expanded: list[str] = []
    option, first = None, False
    for word in arguments:
        if word in several:
            option, first = word, True
        elif word.startswith("-") and word != "-":
            option = None
            expanded.append(word)
        elif option and (first or by_language or _no_setting(option, word)):
            expanded += [option, word]
            first = False
        else:
            expanded.append(word)
    if option and first:
        expanded.append(option)  # without a value: the parser's own error says so
    return expanded


def _no_setting(option: str, word: str) -> bool:
    return "=" not in word or bool((NAMED if option == "--valid" else EXAMPLES).search(word))
