"""What is known of each question already, kept in a folder: an evaluation that was interrupted goes on."""

import json
import zlib
from pathlib import Path
from typing import Any

from saltjax.errors import UserError
from saltjax.evaluate.task import Question, Scores

SETTINGS = "settings.json"


class Shelf:
    """The answers of one task, one JSON object a line: `number id digest answer scores`. Without a path, in memory.

    `answer` is a list of log-likelihoods or a text; `digest` stands for the prompt and choices that were answered.
    Raises UserError: a line that is broken or was made from another prompt.
    """

    def __init__(self, path: Path | None, questions: tuple[Question, ...]):
        self.path = path
        self.digests = [digest(question) for question in questions]
        self.ids = [question.id for question in questions]
        self.scores: dict[int, Scores] = {}
        if path is not None and path.exists():
            self._read(path)

    def add(self, number: int, answer: Any, scores: Scores) -> None:
        self.scores[number] = scores
        if self.path is not None:
            line = {"number": number, "id": self.ids[number], "digest": self.digests[number]}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**line, "answer": answer, "scores": scores}, ensure_ascii=False) + "\n")

    def _read(self, path: Path) -> None:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):  # the line that was being written
            path.write_bytes(whole)
        for number, line in enumerate(whole.decode("utf-8").split("\n")[:-1], 1):
            row = parsed(line, path, number)
            if row["number"] >= len(self.digests):
                continue  # of a run with a larger --limit
            if row["digest"] != self.digests[row["number"]]:
                raise UserError(
                    f"{path}, line {number}: question {row['id']} was answered with other data, prompt or shots; "
                    "give another --out, or remove this one"
                )
            self.scores[row["number"]] = row["scores"]


def parsed(line: str, path: Path, number: int) -> dict[str, Any]:
    """One line of a task's file. Raises UserError."""
    try:
        row = json.loads(line)
        if not isinstance(row["scores"], dict):
            raise TypeError("scores")
        int(row["number"]), str(row["digest"]), str(row["id"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}, line {number}: not a result of evaluate; remove the file to answer anew") from None
    return row


def digest(question: Question) -> str:
    text = json.dumps([question.context, question.before, question.choices], ensure_ascii=False)
    return f"{zlib.crc32(text.encode('utf-8', 'surrogatepass')):08x}"


def opened(out: Path, settings: dict[str, Any]) -> Path:
    """The folder of an evaluation, made or found. Raises UserError: it belongs to other settings, or is no such one."""
    file = out / SETTINGS
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not file.is_file())):
        raise UserError(f"{out}: exists already and is no result of evaluate; choose another --out")
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        other = [name for name in settings if before.get(name) != settings[name]]
        if other:
            name = other[0]
            raise UserError(
                f"{out}: was made with {name}={before.get(name)}, not {settings[name]}; choose another --out"
            )
        return out
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    return out


def file_of(out: Path, task: str) -> Path:
    """`xquad:de` -> OUT/xquad.de.jsonl"""
    return out / (task.replace(":", ".") + ".jsonl")


def task_of(name: str) -> str:
    """The inverse."""
    return name.removesuffix(".jsonl").replace(".", ":")
