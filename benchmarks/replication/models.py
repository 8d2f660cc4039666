"""The models and word vectors of a setting, each trained once."""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from plms import make_bert, make_gpt, make_llm
from rich.console import Console
from settings import Setting
from t5 import make_t5
from texts import Texts, llm_text
from vectors import write_vectors

from saltjax.errors import UserError
from saltjax.pocket.models import LANGUAGES, pocket_llm, pocket_plm

Plms = dict[str, dict[str, Path]]


def trained_models(work: Path, setting: Setting, texts: dict[str, Texts], console: Console) -> tuple[Path, Plms]:
    """The LLM, and {language: {bert, gpt, t5}}."""
    folder = work / "models"
    folder.mkdir(parents=True, exist_ok=True)
    others = [language for language in texts if language != "en"]
    if (unknown := set(others) - set(LANGUAGES)) and not setting.bert:
        raise UserError(f"setting {setting.name} takes pocket models, and there are none of {', '.join(unknown)}")

    def made(name: str, make: Callable[[Path], Path]) -> Path:
        began = time.perf_counter()
        if not (folder / name).exists():
            console.print(f"training {name}")
            with logged(work):
                make(folder / name)
            console.print(f"trained {name} in {(time.perf_counter() - began) / 60:.1f} min")
        return folder / name

    valid = [f"{language}={text.valid}" for language, text in texts.items()]
    size = setting.llm
    llm = made("llm", lambda out: make_llm(out, llm_text(work, setting, texts), size, valid)) if size else pocket_llm()
    plms: Plms = {}
    for language in others:
        text = texts[language].plm
        plms[language] = {
            "bert": made(f"bert-{language}", lambda out, text=text: make_bert(out, text, setting.bert))
            if setting.bert
            else pocket_plm(language),
            "gpt": made(f"gpt-{language}", lambda out, text=text: make_gpt(out, text, setting.gpt)),
            "t5": made(f"t5-{language}", lambda out, text=text: make_t5(out, text, setting.t5)),
        }
    return llm, plms


def trained_vectors(
    work: Path, texts: dict[str, Texts], models: dict[str, list[Path]], seed: int, console: Console
) -> dict[str, Path]:
    """Two at a time: gensim trains outside of Python's lock."""
    found = {language: work / "vectors" / f"{language}.{seed}.vec" for language in models}
    if missing := [language for language, path in found.items() if not path.exists()]:
        console.print(f"training word vectors of {', '.join(missing)}, seed {seed}")
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda one: write_vectors(found[one], texts[one].aux, models[one], seed), missing))
    return found


@contextlib.contextmanager
def logged(work: Path) -> Iterator[None]:
    """What the commands say goes to WORK/log.txt."""
    with (
        (work / "log.txt").open("a", encoding="utf-8") as log,
        contextlib.redirect_stderr(log),
        contextlib.redirect_stdout(log),
    ):
        yield
