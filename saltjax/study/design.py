"""What a study asks: models, tasks, languages, budgets, seeds, as one frozen dataclass."""

from dataclasses import dataclass, field
from typing import Any

METRICS = ("rouge", "chrf", "exact", "maths", "judge")
SETTINGS = ("single", "multi")
EVERYTHING = "all"  # the task of a run with all tasks, the group of all seen languages


@dataclass(frozen=True)
class Task:
    """`train` and `test` are paths of JSON lines with `{language}` in them. A test's answers have at most `max_new`
    tokens; its first `test_rows` rows are asked (0: all)."""

    train: str
    test: str
    metric: str
    max_new: int = 128
    test_rows: int = 0

    def train_file(self, language: str) -> str:
        return self.train.replace("{language}", language)

    def test_file(self, language: str) -> str:
        return self.test.replace("{language}", language)


@dataclass(frozen=True)
class Length:
    """How long a run trains: so many `epochs` over its data, or so many `steps` whatever its data."""

    number: float
    unit: str

    def __str__(self) -> str:
        return f"{self.number:g} {self.unit}"


@dataclass(frozen=True)
class Judge:
    """An OpenAI-compatible endpoint (`url` up to /v1) and the model's name there; or, without `url`, a model directory
    or hub id. `key` names the environment variable that holds the endpoint's key."""

    model: str
    url: str = ""
    key: str = "OPENAI_API_KEY"


@dataclass(frozen=True)
class Study:
    """`core` is the language (English, mostly) of which every run has the same `core_rows` rows a task. `budgets` are
    rows of each language of a group and of each task, beside the core's. `unseen` languages are never trained on.

    `finetune` are settings of `saltjax finetune`, by dotted names. `identify`: refuse rows of unseen languages and say
    how many answers are in a wrong language. `keep`: the checkpoints of finished runs stay.
    """

    name: str
    models: dict[str, str]
    tasks: dict[str, Task]
    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    budgets: tuple[int, ...]
    core: str = ""
    core_rows: int = 0
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    settings: tuple[str, ...] = ("single",)
    lengths: tuple[Length, ...] = (Length(3.0, "epochs"),)
    seeds: tuple[int, ...] = (0,)
    finetune: dict[str, Any] = field(default_factory=dict)
    judge: Judge | None = None
    identify: bool = True
    keep: bool = False

    @property
    def trained(self) -> tuple[str, ...]:
        """The languages that training data may be in."""
        return (self.core, *self.seen) if self.core else self.seen

    @property
    def languages(self) -> tuple[str, ...]:
        """All languages, each is scored in every run."""
        return (*self.trained, *self.unseen)
