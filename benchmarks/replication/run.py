"""SALT's claims on real text: all models, all arms, all tables, by one command that goes on where it was stopped.

    python benchmarks/replication/run.py --text DIR --work WORK [--setting small|gpu] [--languages de ar vi]
        [--dictionaries DIR] [--sets DIR] [--doc docs/replication.md]

DIR holds LANGUAGE.train.txt[.xz] and LANGUAGE.valid.txt[.xz] for English (en) and each language, one document a line.
The dictionaries' folder holds en-LANGUAGE.dict.tsv[.xz]; without it WECHSEL is left out. --sets is a folder of public
sets, as `saltjax evaluate --data` takes; without it the models are asked about the held-out text alone. The small
setting is made for two quiet CPU cores and 90 minutes; in pieces of ten minutes: timeout -s INT -k 25 560 python ... ,
again and again. WORK/log.txt has what the commands say. PyTorch is needed, for the PLM that is like T5.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import jax
from answers import QUESTIONS, ask, asked, questions_of
from arms import DICTIONARY, OWN, Arm, Givens, planned, run_arm
from models import logged, trained_models, trained_vectors
from results import write_results
from rich.console import Console
from settings import SETTINGS, Setting
from texts import Texts, prepared, text_file

from saltjax import api
from saltjax.errors import UserError
from saltjax.pocket.models import LANGUAGES


def replicate(
    folder: Path,
    work: Path,
    setting: Setting,
    languages: Sequence[str],
    dictionaries: Path | None,
    console: Console,
    sets: Path | None = None,
    questions: int = QUESTIONS,
) -> None:
    """Everything that is not in WORK yet. Raises UserError: text is missing, or WORK was made with another setting."""
    _same(work, setting)
    texts = prepared(folder, work, setting, list(languages))
    llm, plms = trained_models(work, setting, texts, console)
    pairs = {language: _dictionary(dictionaries, language) for language in languages} if dictionaries else {}
    arms = planned(setting, languages, bool(pairs))
    english = trained_vectors(work, texts, {"en": [llm]}, 0, console)["en"] if pairs else None

    def givens(seed: int, wanted: set[str]) -> dict[str, Givens]:
        models = {language: [llm, *plms[language].values()] for language in languages if language in wanted}
        vectors = trained_vectors(work, texts, models, seed, console)
        held_out = texts["en"].valid
        return {
            one: Givens(llm, plms[one], texts[one], held_out, vectors[one], english, pairs.get(one)) for one in models
        }

    progress = Pace(arms, work, console)
    for seed in range(setting.seeds):
        todo = [arm for arm in arms if arm.seed == seed and not (work / "arms" / arm.file).exists()]
        given = givens(seed, {arm.language for arm in todo})
        for arm in todo:
            with logged(work):
                record = run_arm(arm, given[arm.language], setting, work)
            progress.done(arm, record["bits_per_byte"][arm.language], record["seconds"])
    for language in languages:
        _score(work, language, llm, plms[language]["bert"], texts[language], setting, console)
    for language, given_one in givens(0, set(languages)).items():
        tasks = questions_of(language, text_file(folder, f"{language}.valid.txt"), sets, questions)
        for arm in asked(language, setting):
            console.print(f"questions in {language} to {arm.method}", markup=False)
            with logged(work):
                ask(arm, given_one, setting, work, tasks)


def _score(work: Path, language: str, llm: Path, plm: Path, text: Texts, setting: Setting, console: Console) -> None:
    """Held-out scores of the methods that can be scored on anchors, kept as WORK/scores/LANGUAGE.json."""
    path = work / "scores" / f"{language}.json"
    if not path.exists():
        console.print(f"held-out scores, {language}")
        methods = [method for method in setting.methods if method not in (DICTIONARY, OWN)]
        with logged(work):
            record = api.inspect(llm, plm, aux=work / "vectors" / f"{language}.0.vec", scores=True, methods=methods)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record["scores"], indent=1) + "\n", encoding="utf-8")


def _dictionary(folder: Path, language: str) -> Path:
    names = [f"en-{language}.dict.tsv", f"en-{language}.dict.tsv.xz"]
    found = [folder / name for name in names if (folder / name).exists()]
    if not found:
        raise UserError(f"{folder} holds neither {' nor '.join(names)}; leave --dictionaries out to go without WECHSEL")
    return found[0]


def _same(work: Path, setting: Setting) -> None:
    path, now = work / "setting.json", json.dumps(asdict(setting), indent=1)
    work.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(now, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != now:
        raise UserError(f"{path} is of another setting; give another --work, its results do not belong together")


class Pace:
    """How many arms are done, and how long the others will take at the pace of those done here."""

    def __init__(self, arms: Sequence[Arm], work: Path, console: Console):
        self._console, self._total = console, len(arms)
        self._count = sum((work / "arms" / arm.file).exists() for arm in arms)
        self._seconds: list[float] = []
        console.print(f"{self._count} of {self._total} arms are done already")

    def done(self, arm: Arm, curve: list[list[float]], seconds: float) -> None:
        self._count += 1
        self._seconds.append(seconds)
        left = (self._total - self._count) * sum(self._seconds) / len(self._seconds) / 60
        self._console.print(
            f"[{self._count}/{self._total}] {arm.language} {arm.plm} {arm.method}, seed {arm.seed}: "
            f"{curve[0][1]:.3f} to {curve[-1][1]:.3f} bits per byte, {seconds:.0f} s; about {left:.0f} min left",
            markup=False,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--setting", choices=list(SETTINGS), default="small")
    parser.add_argument("--languages", nargs="+", default=list(LANGUAGES))
    parser.add_argument("--dictionaries", type=Path)
    parser.add_argument("--sets", type=Path)
    parser.add_argument("--doc", type=Path)
    given = parser.parse_args()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    given.work.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str((given.work / "jax-cache").resolve()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    try:
        replicate(
            given.text, given.work, SETTINGS[given.setting], given.languages, given.dictionaries, console, given.sets
        )
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on")
    if any((given.work / "arms").glob("*.json")):
        print(write_results(given.work, given.doc))


if __name__ == "__main__":
    main()
