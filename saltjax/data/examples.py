"""Examples of a question and its answer: JSON lines in the forms that are in use, as conversations."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from saltjax.data.corpus import json_object
from saltjax.data.files import Read, StoredFile, checked_text, ignore, lines
from saltjax.errors import UserError

Messages = list[dict[str, str]]  # of {"role": system, user or assistant; "content": text}
ROLES = ("system", "user", "assistant")


class Row(NamedTuple):
    """A line that should hold an example; not looked at yet, so that all that is wrong can be said together."""

    where: str
    line: str
    form: str


@dataclass(frozen=True)
class ExampleFile(StoredFile):
    """One example a line, plain or packed; all lines in the form of the first (`FORMS`), other keys do not matter.

    Raises UserError: see `files.lines`; the first line is no example; there is none.
    """

    def documents(self, read: Read = ignore) -> Iterator[Row]:
        form = ""
        for number, line in lines(self.path, read):
            if line.strip():
                where = f"{self.path}, line {number}"
                form = form or _form(json_object(line, where), where)
                yield Row(where, line, form)
        if not form:
            raise UserError(f"{self.path} holds no example: it has no line that is not empty")

    def fingerprint(self) -> str:
        return f"examples:{self.sha256()}"


def messages(row: Row) -> Messages:
    """The conversation of a line up to its last answer: what follows that teaches nothing.

      messages            [{"role": "system" | "user" | "assistant", "content": text}, ...], turns in any number
      prompt, completion  a user's turn and the answer
      instruction, output with an `input` that may be missing or empty: a user's turn of both, a line end between them

    UserError, naming the line: another form, no text where it belongs, an unknown role, no answer, an empty one.
    """
    made = FORMS[row.form](json_object(row.line, row.where), row.where)
    answers = [number for number, turn in enumerate(made) if turn["role"] == "assistant"]
    if not answers:
        raise UserError(f"{row.where}: no message of the assistant, so there is nothing to learn")
    if empty := [number for number in answers if not made[number]["content"].strip()]:
        raise UserError(f"{row.where}: the answer (message {empty[0] + 1}) is empty")
    return made[: answers[-1] + 1]


def _form(content: dict[str, Any], where: str) -> str:
    for form in FORMS:
        if form in content:
            return form
    raise UserError(
        f"{where}: has {', '.join(content) or 'no key'}; an example is messages, or prompt and completion, "
        "or instruction, input and output"
    )


def _from_messages(content: dict[str, Any], where: str) -> Messages:
    turns = content.get("messages")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise UserError(f'{where}: messages is not a list such as [{{"role": "user", "content": "..."}}, ...]')
    made = []
    for number, turn in enumerate(turns, start=1):
        if turn.get("role") not in ROLES:
            role = json.dumps(turn.get("role"), ensure_ascii=False)
            raise UserError(f"{where}: message {number} has the role {role}, not {', '.join(ROLES)}")
        made.append(_turn(turn["role"], turn, "content", f"{where}: message {number}"))
    return made


def _from_prompt(content: dict[str, Any], where: str) -> Messages:
    return [_turn("user", content, "prompt", where), _turn("assistant", content, "completion", where)]


def _from_alpaca(content: dict[str, Any], where: str) -> Messages:
    user = _turn("user", content, "instruction", where)
    if content.get("input"):
        user["content"] += "\n" + _turn("user", content, "input", where)["content"]
    return [user, _turn("assistant", content, "output", where)]


def _turn(role: str, content: dict[str, Any], key: str, where: str) -> dict[str, str]:
    if not isinstance(content.get(key), str):
        raise UserError(f"{where}: {key} is {'not there' if key not in content else 'no text'}")
    return {"role": role, "content": checked_text(content[key], where)}


# By the key that tells them.
FORMS: dict[str, Callable[[dict[str, Any], str], Messages]] = {
    "messages": _from_messages,
    "prompt": _from_prompt,
    "instruction": _from_alpaca,
}
