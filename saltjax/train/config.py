"""What a run is asked to do: one frozen dataclass, filled from YAML, then from `key=value` on the command line."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from saltjax.data.mixture import Corpus, corpora
from saltjax.errors import UserError
from saltjax.train.checks import checked, consistent
from saltjax.train.neuronsets import MASKED
from saltjax.train.stages import Stage, in_steps, read_stages
from saltjax.train.yamlfile import Loader, flatten, load_yaml


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis; -1 means what the other axes leave over (at most one axis may say so)."""

    data: int = 1
    fsdp: int = -1
    tensor: int = 1


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Low-rank additions alpha / rank * A B to the matrices that match `targets` (Hu et al. 2021, arXiv 2106.09685)."""

    rank: int = 8
    alpha: float = 16.0
    targets: str = "layers.attn.[qkvo]+layers.mlp.*"  # path patterns joined by +

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


@dataclasses.dataclass(frozen=True)
class AdaptConfig:
    """Settings of a run. The defaults are ours; `configs/adapt.yaml` says at length what each one does."""

    steps: int = 1000
    epochs: float = 0.0  # instead of steps: so often as many windows as the data has
    batch_size: int = 32  # packed sequences a step, over all devices
    seq_len: int = 1024
    learning_rate: float = 1e-4
    warmup_steps: int = 100
    final_learning_rate_ratio: float = 0.1
    schedule: str = "cosine"  # or constant, wsd
    decay_steps: int = 0  # the last part of schedule=wsd
    embedding_learning_rate_ratio: float = 1.0  # the rate of embeddings and head is learning_rate times this
    optimizer: str = "adamw"  # or adafactor, lion, muon
    moments_dtype: str = "float32"  # or bfloat16: half the memory
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.95
    ema: float = 0.0  # decay of a moving average of what learns; 0: none
    z_loss: float = 0.0  # coefficient of the mean squared log-normaliser
    accumulate: int = 1  # parts of a batch that are computed one after another
    trainable: str = "full"  # `train.trainable.trainable` says what else
    embeddings_first: int = 0  # short for one stage
    stages: tuple[Stage, ...] = ()  # what learns until which step, before `trainable`
    lora: LoraConfig = LoraConfig()  # the adapters of trainable=lora
    compute_dtype: str = "auto"  # bfloat16 on an accelerator, float32 on a CPU
    remat: str = "none"
    unroll: bool = False  # layers written out one after another instead of scanned
    seed: int = 0
    eval_every: int = 250  # 0: only before the first and after the last step
    checkpoint_every: int = 500  # 0: only after the last step
    keep_checkpoints: int = 3
    keep_best: str = "none"  # or mean, or the name of a held-out text: its lowest bits per byte are kept too
    checkpoints: str = ""  # where they are kept, also gs://...; "": RUN/checkpoints
    log_every: int = 10
    wandb: str = ""  # a project of Weights & Biases
    profile_steps: str = ""  # FIRST-LAST: these steps are traced
    template: str = "auto"  # of finetune: how examples become tokens
    data: tuple[Corpus, ...] = ()  # what to learn from, with weights; the command line's --text and --tfds instead
    cache: str = "~/.cache/saltjax/tokens"  # where token ids are kept, a local directory
    mesh: MeshConfig = MeshConfig()

    @property
    def phases(self) -> tuple[Stage, ...]:
        """The stages, in steps; after them comes `trainable`."""
        first = (Stage(self.embeddings_first, "embeddings"),) if self.embeddings_first else ()
        return in_steps(self.stages or first, self.steps)

    @property
    def specs(self) -> list[str]:
        """What learns in one phase after another."""
        return [*(stage.train for stage in self.phases), self.trainable]

    @property
    def has_adapters(self) -> bool:
        """Whether adapters learn in any phase."""
        return any(part == "lora" or part.startswith(("lora.", MASKED)) for part in self.parts)

    @property
    def adapter_neurons(self) -> list[str]:
        """The neurons that adapters of the MLP are for, FILE@LANG..., over all phases; none: all of them."""
        return sorted({part.removeprefix(MASKED) for part in self.parts if part.startswith(MASKED)})

    @property
    def parts(self) -> list[str]:
        """Of `specs`, split at +."""
        return [part.strip() for spec in self.specs for part in spec.split("+")]


# What a resumed run may change: how long, how often and on which devices, never what is computed.
MAY_CHANGE = (
    "steps",
    "decay_steps",
    "eval_every",
    "checkpoint_every",
    "keep_checkpoints",
    "keep_best",
    "log_every",
    "wandb",
    "profile_steps",
    "cache",
    "mesh.",
)


def read_config(path: str | Path | None, overrides: Sequence[str] = ()) -> AdaptConfig:
    """The defaults, then the YAML file, then `key=value` overrides (dotted names: `mesh.fsdp=4`).

    UserError: unreadable file, unknown key (the nearest one is named), a value of the wrong type or out of range.
    """
    defaults, values = to_flat(AdaptConfig()), dict[str, Any]()
    if path is not None:
        for key, value in flatten(_read_yaml(Path(path))):
            values[key] = checked(key, value, defaults, f"{path}: ")
    given = {override.partition("=")[0] for override in overrides}
    for length, other in (("steps", "epochs"), ("epochs", "steps")):
        if length in given and other not in given:  # what stands on the command line wins
            values.pop(other, None)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise UserError(f"{override!r} is not a setting; write key=value, for instance learning_rate=1e-4")
        try:
            value = yaml.load(text, Loader)
        except yaml.YAMLError:
            value = text
        values[key] = checked(key, value, defaults)
    if values.get("epochs") and "steps" in values:
        raise UserError(f"steps={values['steps']} and epochs={values['epochs']:g}: give one of them")
    return consistent(from_flat(values))


def to_flat(config: AdaptConfig) -> dict[str, Any]:
    """{"steps": 1000, ..., "mesh.tensor": 1}."""
    return dict(flatten(dataclasses.asdict(config)))


def from_flat(values: dict[str, Any]) -> AdaptConfig:
    """The inverse of `to_flat`; keys that are missing take their defaults."""

    def part(prefix: str) -> dict[str, Any]:
        return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}

    rest = {key: value for key, value in values.items() if "." not in key}
    lists = {"data": corpora(rest.get("data", ())), "stages": read_stages(rest.get("stages", ()))}
    return AdaptConfig(**{**rest, **lists}, mesh=MeshConfig(**part("mesh.")), lora=LoraConfig(**part("lora.")))


def to_yaml(config: AdaptConfig) -> str:
    """The settings as YAML that `read_config` reads back to the same value."""
    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False)


def _read_yaml(path: Path) -> dict:
    content = load_yaml(path)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected lines of `key: value`, found {content!r}")
    return content
