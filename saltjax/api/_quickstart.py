"""quickstart: the whole way on models that come with the package, offline and on any machine."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from saltjax.api._adapt import adapt
from saltjax.api._evaluate import evaluate
from saltjax.api._export import export
from saltjax.api._transfer import transfer
from saltjax.errors import UserError
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.models.generation import generate
from saltjax.models.load import load_model
from saltjax.pocket.corpus import documents, write_text
from saltjax.pocket.models import LANGUAGES, pocket_llm, pocket_plm
from saltjax.train.plots import picture

SEQ_LEN = 128
SETTINGS = (
    "steps=120",
    "batch_size=16",
    f"seq_len={SEQ_LEN}",
    "learning_rate=1e-3",
    "warmup_steps=10",
    "weight_decay=0.1",
    "eval_every=15",
    "checkpoint_every=0",
    "mesh.data=1",
    "mesh.fsdp=1",
    "mesh.tensor=1",
)
PROMPTS = {"de": "Am Morgen geht die Familie", "ar": "في الصباح تذهب العائلة", "vi": "Buổi sáng, gia đình"}


def quickstart(language: str = "de", out: str | Path | None = None, *, overwrite: bool = False) -> dict[str, Any]:
    """Give the pocket LLM the vocabulary of the pocket PLM of `language`, with SALT and with the Gaussian baseline,
    adapt both on the pocket text, export SALT's model to PyTorch and load it back.

    Everything goes through `api.transfer`, `api.adapt`, `api.export` and `api.evaluate`, into `out` (by default
    `saltjax-quickstart-LANGUAGE`), which is removed again if anything fails or interrupts it.

    Returns language, seconds, out, model, runs[{init, bits_per_byte[[step, value], ...]}], source_bits_per_byte (of the
    untouched LLM with its own vocabulary), tokens_per_word{source, target}, sample, picture. Raises UserError.
    """
    began = time.perf_counter()
    if language not in LANGUAGES:
        raise UserError(f"--language {language} is not known; there are {', '.join(LANGUAGES)}")
    out = Path(out or f"saltjax-quickstart-{language}")
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists already: give another --out, or --overwrite")
    if out.exists() and not (out / "quickstart.json").is_file():
        raise UserError(f"{out} was not made by the quickstart, so it is not replaced: give another --out")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    try:
        record = {"language": language, "out": str(out), **_run(language, out)}
        record["seconds"] = round(time.perf_counter() - began, 1)
        (out / "quickstart.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return record


def _run(language: str, out: Path) -> dict[str, Any]:
    (out / "text").mkdir()
    train = write_text(documents(language), out / "text" / f"{language}.train.txt")
    valid = write_text(documents(language, "valid"), out / "text" / f"{language}.valid.txt")
    llm, plm = pocket_llm(), pocket_plm(language)
    source = evaluate(llm, ["bpb"], text=[valid], seq_len=SEQ_LEN)["results"]["bpb"]["bits_per_byte"]

    runs: list[dict[str, Any]] = []
    for init in ("salt", "gaussian"):
        # Warnings about the pocket's size are what the quickstart is about; transfer.json keeps them.
        transfer(llm, plm, out / f"llm-{language}-{init}", method=init, aux_text=[train])
        done = adapt(
            out / f"llm-{language}-{init}",
            out / "runs" / init,
            text=[train],
            valid=[f"{language}={valid}"],
            overrides=SETTINGS,
        )
        if done["interrupted"]:  # the run has saved itself, but half a quickstart has nothing to show
            raise KeyboardInterrupt
        lines = (out / "runs" / init / "metrics.jsonl").read_text(encoding="utf-8").split("\n")
        scored = [line for line in map(json.loads, filter(None, lines)) if "bits_per_byte" in line]
        curve = [(line["step"], line["bits_per_byte"][language]) for line in scored]
        runs.append({"init": init, "bits_per_byte": curve})

    model = out / f"llm-{language}"
    exported = export(out / "runs" / "salt", model)
    curves: dict[str, list[tuple[int, float]]] = {run["init"]: run["bits_per_byte"] for run in runs}
    last = curves["salt"][-1][0]
    curves["LLM as it was"] = [(0, source), (last, source)]
    drawn = picture(out / "quickstart.png", {f"held-out text ({language}) [bits per byte]": curves})
    text = valid.read_text(encoding="utf-8")
    return {
        "model": str(model),
        "runs": runs,
        "source_bits_per_byte": source,
        "tokens_per_word": {
            "source": _tokens_per_word(load_tokenizer(llm), text),
            "target": _tokens_per_word(load_tokenizer(model), text),
        },
        "max_abs_logit_difference": exported["max_abs_logit_difference"],
        "sample": _sample(model, PROMPTS[language]),
        "picture": str(drawn),
    }


def _tokens_per_word(tokenizer: PreTrainedTokenizerBase, text: str) -> float:
    return len(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids) / len(text.split())


def _sample(model: Path, prompt: str) -> str:
    """How the exported model, loaded back, goes on; drawn at temperature 0.7."""
    tokenizer, loaded = load_tokenizer(model), load_model(model)
    ids = tokenizer(prompt)["input_ids"]
    new = generate(loaded, [ids], 24, temperature=0.7, seed=0, eos_ids=(tokenizer.eos_token_id,))[0]
    return str(tokenizer.decode([*ids, *new], skip_special_tokens=True))
