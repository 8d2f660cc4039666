"""Tools in conversations: what a model is told of them and its calls, in the form that chat templates take."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from saltjax.errors import UserError

Tools = list[Any]  # JSON schemas of functions, as apply_chat_template takes them


def tools_of(content: dict[str, Any], where: str) -> Tools:
    """The key `tools` of an example, a list or the JSON text of one; none without it. UserError, naming `where`."""
    found = _parsed(content.get("tools") or [])
    if not isinstance(found, list) or not all(isinstance(one, dict) and _named(_function(one)) for one in found):
        raise UserError(f'{where}: tools is not a list such as [{{"type": "function", "function": {{"name": ...}}}}]')
    return [one if "function" in one else {"type": "function", "function": one} for one in found]


def calls_of(turn: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """The `tool_calls` of a message, each {"type": "function", "function": {"name", "arguments"}} and its `id`, if any.

    Templates take arguments as an object: OpenAI's form, in which they are JSON text, is read. UserError, naming
    `where`: no list of calls, no name, arguments that are no object.
    """
    given, found = turn.get("tool_calls") or [], []
    for call in given if isinstance(given, list) else [given]:
        function = _function(call) if isinstance(call, dict) else {}
        arguments = _parsed(function.get("arguments") or {})
        if not _named(function) or not isinstance(arguments, dict):
            raise UserError(
                f'{where}: a tool call is not like {{"function": {{"name": "f", "arguments": {{"x": 1}}}}}}'
            )
        known = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
        found.append({"type": "function", **known, "function": {"name": function["name"], "arguments": arguments}})
    return found


def size(turn: dict[str, Any]) -> int:
    """UTF-8 bytes of an answer; a call counts as the JSON of its name and arguments."""
    said = [turn["content"], *(json.dumps(call["function"], ensure_ascii=False) for call in turn.get("tool_calls", ()))]
    return sum(len(text.encode()) for text in said)


def check_written(
    conversation: Sequence[dict[str, Any]],
    tools: Tools,
    text: str,
    write: Callable[[list[dict[str, Any]]], str],
    where: str,
) -> None:
    """UserError, naming `where`, if `text`, which a template made of a conversation, leaves out its tools, a call, the
    content beside one or what a tool returned, or does not tell that from an answer. `write` makes the text of another
    conversation."""
    if any(tool["function"]["name"] not in text for tool in tools):
        raise UserError(_unwritten(where, "the tools"))
    for number, turn in enumerate(conversation, 1):
        here = f"{where}: message {number}"
        calls = turn.get("tool_calls", ())
        if any(call["function"]["name"] not in text for call in calls):
            raise UserError(_unwritten(here, "the tool call"))
        if calls and turn["content"].strip() not in text:
            raise UserError(_unwritten(here, "the content beside a tool call"))
        if turn["role"] == "tool":
            said = turn["content"].strip()
            there = said in text or json.dumps(said, ensure_ascii=False)[1:-1] in text
            as_answer = {"role": "assistant", "content": turn["content"]}
            with suppress(UserError):  # refused: so it is told from an answer
                there &= write([*conversation[: number - 1], as_answer, *conversation[number:]]) != text
            if not there:
                raise UserError(_unwritten(here, "what the tool returned"))


def _unwritten(where: str, what: str) -> str:
    return f"{where}: the chat template does not write {what}; take a model whose template does"


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    """With or without the wrapping of {"type": "function", "function": {...}}."""
    inner = tool.get("function", tool)
    return inner if isinstance(inner, dict) else {}


def _named(function: dict[str, Any]) -> bool:
    return isinstance(function.get("name"), str) and function["name"] != ""


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return None
