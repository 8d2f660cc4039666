"""Examples of a question and its answer: JSON lines in the forms that are in use, as conversations."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from saltjax.data.corpus import json_object
from saltjax.data.files import Read, StoredFile, checked_text, ignore, lines
from saltjax.data.toolcalls import Tools, calls_of, tools_of
from saltjax.errors import UserError

# Of {"role": one of ROLES, "content": text}, an assistant's with its `tool_calls`, if any (`toolcalls.calls_of`).
Messages = list[dict[str, Any]]
ROLES = ("system", "user", "assistant", "tool")
SPEAKERS = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}


class Row(NamedTuple):
    """A line that should hold an example; not looked at yet, so that all that is wrong can be said together."""

    where: str
    line: str
    form: str


@dataclass(frozen=True)
class ExampleFile(StoredFile):
    """One example a line, plain or packed; all lines in the form of the first (`FORMS`), other keys do not matter.

    Raises UserError: see `files.lines`; a JSON array; the first line is no example; there is none.
    """

    def documents(self, read: Read = ignore) -> Iterator[Row]:
        form = ""
        for number, line in lines(self.path, read):
            if line.strip():
                where = f"{self.path}, line {number}"
                if not form and line.lstrip().startswith("["):
                    lines_of_it = f"jq -c '.[]' {self.path} > NEW.jsonl"
                    raise UserError(f"{self.path} is one JSON array; an example a line is expected: {lines_of_it}")
                form = form or _form(json_object(line, where), where)
                yield Row(where, line, form)
        if not form:
            raise UserError(f"{self.path} holds no example: it has no line that is not empty")

    def fingerprint(self) -> str:
        return f"examples:{self.sha256()}"


def messages(row: Row) -> Messages:
    """The conversation of a line up to its last answer: what follows that teaches nothing.

      messages            [{"role": "system" | "user" | "assistant" | "tool", "content": text}, ...], turns in any
                          number; an assistant's may have tool_calls, and then no content
      conversations       ShareGPT: [{"from": "system" | "human" | "gpt", "value": text}, ...], or as in `messages`;
                          `system` may stand beside it
      prompt, completion  a user's turn and the answer
      instruction, output with an `input` that may be missing or empty: a user's turn of both, a line end between them;
                          `system` may stand beside them, and [question, answer] pairs that came before as `history`

    UserError, naming the line: another form, no text where it belongs, an unknown role, no answer, an empty one, one
    that nobody asked for.
    """
    content = json_object(row.line, row.where)
    if row.form not in content:
        raise UserError(f"{row.where}: has no {row.form}, but the file's first example has; a file has one form")
    made = FORMS[row.form](content, row.where)
    answers = [number for number, turn in enumerate(made) if turn["role"] == "assistant"]
    if not answers:
        raise UserError(f"{row.where}: no message of the assistant, so there is nothing to learn")
    if answers[0] == 0:
        raise UserError(f"{row.where}: begins with an answer that nobody asked for; take it out")
    if empty := [n for n in answers if not made[n]["content"].strip() and "tool_calls" not in made[n]]:
        raise UserError(f"{row.where}: the answer (message {empty[0] + 1}) is empty")
    return made[: answers[-1] + 1]


def tools(row: Row) -> Tools:
    """What the line's conversation says of tools, in its key `tools`. UserError, naming the line."""
    return tools_of(json_object(row.line, row.where), row.where) if '"tools"' in row.line else []


def _form(content: dict[str, Any], where: str) -> str:
    for form in FORMS:
        if form in content:
            return form
    raise UserError(
        f"{where}: has {', '.join(content) or 'no key'}; an example is messages, conversations, prompt and completion, "
        "or instruction, input and output"
    )


def _from_messages(content: dict[str, Any], where: str) -> Messages:
    turns = _turns(content, "messages", '{"role": "user", "content": "..."}', where)
    return [_message(turn, f"{where}: message {number}") for number, turn in enumerate(turns, 1)]


def _message(turn: dict[str, Any], where: str) -> dict[str, Any]:
    role = turn.get("role")
    if role not in ROLES:
        raise UserError(f"{where} has the role {json.dumps(role, ensure_ascii=False)}, not {', '.join(ROLES)}")
    calls = calls_of(turn, where) if role == "assistant" else []
    if calls:
        made = _turn(role, {"content": turn.get("content") or ""}, "content", where) | {"tool_calls": calls}
    else:
        made = _turn(role, turn, "content", where)
    told = ("name", "tool_call_id") if role == "tool" else ()
    return made | {key: turn[key] for key in told if isinstance(turn.get(key), str)}


def _from_sharegpt(content: dict[str, Any], where: str) -> Messages:
    turns = _turns(content, "conversations", '{"from": "human", "value": "..."}', where)
    made = _system(content, where)
    for number, turn in enumerate(turns, 1):
        here = f"{where}: message {number}"
        if "from" not in turn:
            made.append(_message(turn, here))
        elif turn["from"] in SPEAKERS:
            made.append(_turn(SPEAKERS[turn["from"]], turn, "value", here))
        else:
            speaker = json.dumps(turn["from"], ensure_ascii=False)
            raise UserError(f"{here} is from {speaker}, not {', '.join(SPEAKERS)}; `messages` can have tools")
    return made


def _from_prompt(content: dict[str, Any], where: str) -> Messages:
    return [_turn("user", content, "prompt", where), _turn("assistant", content, "completion", where)]


def _from_alpaca(content: dict[str, Any], where: str) -> Messages:
    made = _system(content, where)
    for pair in content.get("history") or ():
        if not isinstance(pair, list) or len(pair) != 2:
            raise UserError(f"{where}: history is not a list of [question, answer]")
        asked = dict(zip(("question", "answer"), pair, strict=True))
        made += [_turn("user", asked, "question", where), _turn("assistant", asked, "answer", where)]
    user = _turn("user", content, "instruction", where)
    if content.get("input"):
        user["content"] += "\n" + _turn("user", content, "input", where)["content"]
    return [*made, user, _turn("assistant", content, "output", where)]


def _system(content: dict[str, Any], where: str) -> Messages:
    return [_turn("system", content, "system", where)] if content.get("system") else []


def _turns(content: dict[str, Any], key: str, such_as: str, where: str) -> list[dict[str, Any]]:
    turns = content.get(key)
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise UserError(f"{where}: {key} is not a list such as [{such_as}, ...]")
    return turns


def _turn(role: str, content: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    if not isinstance(content.get(key), str):
        raise UserError(f"{where}: {key} is {'not there' if key not in content else 'no text'}")
    return {"role": role, "content": checked_text(content[key], where)}


# By the key that tells them.
FORMS: dict[str, Callable[[dict[str, Any], str], Messages]] = {
    "messages": _from_messages,
    "conversations": _from_sharegpt,
    "prompt": _from_prompt,
    "instruction": _from_alpaca,
}
