"""One row of a task: a conversation whose last turn is the answer."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from saltjax.data.examples import ExampleFile, Messages, messages, tools
from saltjax.errors import UserError


@dataclass(frozen=True)
class Row:
    """`line` is the row as it stands in its file; `answer` what its key `answer` says, if it has one (maths)."""

    line: str
    messages: Messages
    answer: Any = None

    @property
    def asked(self) -> Messages:
        return self.messages[:-1]

    @property
    def completion(self) -> str:
        return self.messages[-1]["content"]

    @property
    def prompt(self) -> str:
        """The turns before the answer, as one text to compare and to identify."""
        return "\n".join(one["content"] for one in self.asked)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what is learned from the row, whatever else its line says."""
        return hashlib.sha256(json.dumps(self.messages, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def read_rows(path: str) -> Iterator[Row]:
    """The rows of a file of JSON lines (see `data.examples`). Raises UserError, naming the line; there must be no calls
    of tools in it, for which there is no metric."""
    for example in ExampleFile(path).documents():
        made = messages(example)
        if tools(example) or any(turn["role"] == "tool" or "tool_calls" in turn for turn in made):
            raise UserError(f"{example.where}: has tools, which a study cannot score; take it out")
        yield Row(example.line, made, json.loads(example.line).get("answer"))
