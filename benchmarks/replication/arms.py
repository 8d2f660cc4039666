"""One arm: a transfer, its bits per byte before training, the same adaptation as all others, one JSON file."""

import json
import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from settings import Setting
from texts import Texts

from saltjax import api
from saltjax.data.corpus import documents
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.train import metrics
from saltjax.transfer.choose import find, with_options

OWN = "own vocabulary"
DICTIONARY = "wechsel"  # the one method that needs a dictionary and vectors of English


@dataclass(frozen=True)
class Arm:
    """`plm` is bert, gpt or t5; `seed` that of the data's order, of random rows and of the auxiliary vectors. With the
    method OWN nothing is transferred."""

    language: str
    plm: str
    method: str
    seed: int

    @property
    def file(self) -> str:
        return f"{self.language}.{self.plm}.{re.sub('[^a-z+-]+', '-', self.method)}.{self.seed}.json"


@dataclass(frozen=True)
class Givens:
    """What the arms of one language and seed start from."""

    llm: Path
    plms: dict[str, Path]
    texts: Texts
    english: Path
    vectors: Path
    english_vectors: Path | None
    dictionary: Path | None


def planned(setting: Setting, languages: Sequence[str], dictionaries: bool) -> list[Arm]:
    """Seed after seed, so that what is interrupted compares all methods, with fewer seeds."""
    arms = []
    for seed in range(setting.seeds):
        for language in languages:
            methods = [method for method in setting.methods if dictionaries or method != DICTIONARY]
            arms += [Arm(language, "bert", method, seed) for method in methods]
            if seed < setting.plm_seeds:
                arms.append(Arm(language, "bert", OWN, seed))
                arms += [Arm(language, plm, method, seed) for plm in ("gpt", "t5") for method in setting.plm_methods]
    return arms


def run_arm(arm: Arm, given: Givens, setting: Setting, work: Path) -> dict[str, Any]:
    """The record of an arm, from WORK/arms if it is there. KeyboardInterrupt when a signal ended its adaptation."""
    path = work / "arms" / arm.file
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(_record(arm, given, setting, work), indent=1) + "\n", encoding="utf-8")
        os.replace(partial, path)
    return json.loads(path.read_text(encoding="utf-8"))


def _record(arm: Arm, given: Givens, setting: Setting, work: Path) -> dict[str, Any]:
    began = time.perf_counter()
    model, transfer = (given.llm, {}) if arm.method == OWN else transferred(arm, given, work / "model")
    run = adapted(arm, given, setting, work, model)
    lines = list(metrics.read(work / "run" / "metrics.jsonl"))
    scored = [(line["step"], line["bits_per_byte"]) for line in lines if "bits_per_byte" in line]
    texts = _held_out(arm, given)
    curves = {name: [(step, scores[name]) for step, scores in scored] for name in texts}
    shutil.rmtree(work / "run")
    return {
        **asdict(arm),
        "setting": setting.name,
        "bits_per_byte": curves,
        "unknown": {name: _unknown(text, model) for name, text in texts.items()},
        "transfer": {key: transfer.get(key) for key in ("tokens", "anchors", "k", "seconds", "warnings")},
        "tokens_per_second": run["tokens_per_second"],
        "seconds": round(time.perf_counter() - began, 2),
    }


def adapted(arm: Arm, given: Givens, setting: Setting, work: Path, model: Path) -> dict[str, Any]:
    """What `api.adapt` says of the run WORK/run. KeyboardInterrupt when a signal ended it."""
    shutil.rmtree(work / "run", ignore_errors=True)  # of an arm that was interrupted
    found = api.adapt(
        model,
        work / "run",
        text=[given.texts.train],
        valid=[f"{name}={text}" for name, text in _held_out(arm, given).items()],
        overrides=[f"{key}={value}" for key, value in _overrides(arm, setting, work).items()],
    )
    if found["interrupted"]:
        raise KeyboardInterrupt
    return found


def transferred(arm: Arm, given: Givens, out: Path) -> tuple[Path, dict[str, Any]]:
    method, options = with_options(arm.method)
    looks = find(method).space == "aux" and options.get("neighbours") != "plm"
    bilingual = {"dictionary": given.dictionary, "source_aux": given.english_vectors} if method == DICTIONARY else {}
    return out, api.transfer(
        given.llm,
        given.plms[arm.plm],
        out,
        aux=given.vectors if looks or method == DICTIONARY else None,
        method=method,
        options=options,
        seed=arm.seed,
        overwrite=True,
        **bilingual,
    )


def _overrides(arm: Arm, setting: Setting, work: Path) -> dict[str, Any]:
    names = ("steps", "batch_size", "seq_len", "learning_rate", "warmup_steps", "eval_every")
    fixed = {"weight_decay": 0.1, "checkpoint_every": 0, "mesh.data": 1, "mesh.fsdp": 1, "mesh.tensor": 1}
    return {name: getattr(setting, name) for name in names} | fixed | {"seed": arm.seed, "cache": work / "tokens"}


def _held_out(arm: Arm, given: Givens) -> dict[str, Path]:
    return {arm.language: given.texts.valid, "en": given.english}


def _unknown(text: Path, model: Path) -> tuple[int, int]:
    """(unknown tokens, all tokens) of a held-out text: what is unknown is lost, which flatters."""
    tokenizer = load_tokenizer(model)
    encodings = tokenizer.backend_tokenizer.encode_batch(list(documents(text)), add_special_tokens=False)
    ids = [number for one in encodings for number in one.ids]
    return ids.count(tokenizer.unk_token_id) if tokenizer.unk_token_id is not None else 0, len(ids)
