"""The sets' original file formats as rows (dictionaries). A broken file is a UserError that names file and line."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from saltjax.data.files import lines
from saltjax.errors import UserError

Row = dict[str, Any]
Read = Callable[[Path], Iterator[Row]]


def json_lines(path: Path) -> Iterator[Row]:
    """One object a line."""
    for number, line in lines(path):
        if line.strip():
            yield _object(_parsed(line, f"{path}, line {number}"), f"{path}, line {number}")


def json_list(path: Path) -> Iterator[Row]:
    """A list of objects."""
    content = _parsed("\n".join(line for _, line in lines(path)), str(path))
    if not isinstance(content, list):
        raise UserError(f"{path}: a {type(content).__name__}, not a list of questions")
    for index, row in enumerate(content):
        yield _object(row, f"{path}, element {index}")


def squad_json(path: Path) -> Iterator[Row]:
    """SQuAD v1.1 as rows `id context question answers{text}`, the same as those of the hub and of TFDS."""
    content = _parsed("\n".join(line for _, line in lines(path)), str(path))
    try:
        for article in content["data"]:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    yield {
                        "id": asked["id"],
                        "context": paragraph["context"],
                        "question": asked["question"],
                        "answers": {"text": [answer["text"] for answer in asked["answers"]]},
                    }
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: not SQuAD v1.1 ({type(error).__name__}: {error})") from None


def tab_separated(*fields: str) -> Read:
    """One row a line, without a header; nothing is quoted."""
    return partial(_columns, fields=fields)


def _columns(path: Path, fields: tuple[str, ...]) -> Iterator[Row]:
    for number, line in lines(path):
        if not line.strip():
            continue
        values = line.removesuffix("\r").split("\t")
        if len(values) != len(fields):
            raise UserError(
                f"{path}, line {number}: {len(values)} columns, not the {len(fields)} of {', '.join(fields)}"
            )
        yield dict(zip(fields, values, strict=True))


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError):
            at = f"column {error.colno}" if ", line " in where else f"line {error.lineno}, column {error.colno}"
            raise UserError(f"{where}: not JSON ({error.msg}, {at})") from None
        raise UserError(f"{where}: not JSON ({error})") from None


def _object(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise UserError(f"{where}: a {type(value).__name__}, not an object")
    return value
