"""Make the pocket models from running text: an English-centric LLM, and a PLM for each of German, Arabic, Vietnamese.

    python scripts/make_pocket_models.py --text DIR --out saltjax/pocket/weights --work WORK

DIR holds en.train.txt.xz, de.train.txt.xz, ... (one document a line) and the same with `valid`. What was trained on
what, for how long and how well is written to OUT/card.json. About half an hour on two cores; each model is made once
and kept, so the command can be interrupted and repeated.
"""

import argparse
import json
import lzma
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
from transformers import AutoTokenizer

from saltjax import api
from saltjax.pocket import bert, mlm, tokenizers
from saltjax.pocket.corpus import write_text
from saltjax.pocket.llm import write_llama

LANGUAGES = ("de", "ar", "vi")
# How often a character must occur to get a token: Arabic and Vietnamese articles quote names in many other scripts,
# which would fill half of so small a vocabulary.
LEAST_COUNT = {"de": 2, "ar": 100, "vi": 100}
PIECE = 2_000  # characters: long articles are cut, so that a megabyte holds many of them


def text(path: Path, megabytes: float) -> Iterator[str]:
    """The first `megabytes` (UTF-8) of a packed text, in pieces of whole sentences."""
    left = megabytes * 1e6
    with lzma.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        for line in lines:
            piece = ""
            for sentence in line.rstrip("\n").split(". "):
                piece += sentence + ". "
                if len(piece) >= PIECE:
                    yield piece.strip()
                    left -= len(piece.encode())
                    piece = ""
                if left <= 0:
                    return


def interleaved(parts: list[list[str]]) -> list[str]:
    """All lists' items, each list spread evenly over the whole."""
    places = [((i + 0.5) / len(part), p, i) for p, part in enumerate(parts) for i in range(len(part))]
    return [parts[p][i] for _, p, i in sorted(places)]


def make_llm(source: Path, work: Path, out: Path, steps: int) -> dict:
    english, other = 16.0, 1.5  # megabytes: three quarters English
    parts = [list(text(source / "en.train.txt.xz", english))]
    parts += [list(text(source / f"{language}.train.txt.xz", other)) for language in LANGUAGES]
    lines = interleaved(parts)
    write_text(lines, work / "llm.txt")
    for language in ("en", *LANGUAGES):
        write_text(text(source / f"{language}.valid.txt.xz", 0.1), work / f"{language}.valid.txt")
    tokenizer = tokenizers.train_byte_bpe(lines[:8000], 4096)
    sizes = {"hidden_size": 192, "layers": 4, "heads": 6, "kv_heads": 2, "positions": 512}
    settings = {"steps": steps, "batch_size": 16, "seq_len": 256, "learning_rate": 3e-3, "warmup_steps": 100}
    settings |= {"weight_decay": 0.1, "eval_every": 200, "checkpoint_every": 200, "keep_checkpoints": 1}
    if not (work / "llm-run").exists():
        write_llama(work / "llm-fresh", tokenizer, **sizes, dtype="bfloat16")
    trained = api.adapt(
        work / "llm-fresh",
        work / "llm-run",
        text=[work / "llm.txt"],
        valid=[f"{language}={work / f'{language}.valid.txt'}" for language in ("en", *LANGUAGES)],
        overrides=[f"{key}={value}" for key, value in settings.items()],
    )
    api.export(work / "llm-run", out, overwrite=True)
    megabytes = {"en": english} | dict.fromkeys(LANGUAGES, other)
    return {"text_megabytes": megabytes, "sizes": sizes, "settings": settings, "valid": trained["valid"]}


def make_plm(language: str, source: Path, work: Path, out: Path, steps: int) -> dict:
    lines = list(text(source / f"{language}.train.txt.xz", 16))
    tokenizer = tokenizers.train_wordpiece(lines, 4096, LEAST_COUNT[language])
    shape = bert.Shape(len(tokenizer), hidden_size=128, layers=2, heads=4, positions=128)
    recipe = mlm.Recipe(steps, batch_size=64, seq_len=64, learning_rate=2e-3, warmup_steps=100)
    valid = list(text(source / f"{language}.valid.txt.xz", 0.1))
    trained = mlm.train_mlm(lines, tokenizer, shape, recipe, valid, f"{language}: masked language model")
    bert.write_bert(out, trained.params, shape.heads, tokenizer, ml_dtypes.bfloat16)
    held = trained.curve[-1][2]
    curve = [[step, round(held, 3)] for step, _, held in trained.curve[:: max(1, len(trained.curve) // 20)]]
    return {
        "text_megabytes": 16,
        "sizes": vars(shape),
        "settings": vars(recipe),
        "nats_a_hidden_token": held,
        "curve": curve,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="llm, plm-de, plm-ar, plm-vi")
    parser.add_argument("--llm-steps", type=int, default=1000)
    parser.add_argument("--plm-steps", type=int, default=1000)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    card_path = args.out / "card.json"
    card = lambda: json.loads(card_path.read_text()) if card_path.exists() else {}  # noqa: E731
    makers = {"llm": lambda out: make_llm(args.text, args.work, out, args.llm_steps)}
    makers |= {
        f"plm-{language}": lambda out, language=language: make_plm(language, args.text, args.work, out, args.plm_steps)
        for language in LANGUAGES
    }
    for name, make in makers.items():
        if name in card() or (args.only and name not in args.only):
            continue
        began = time.perf_counter()
        facts = make(args.work / f"{name}-new")
        shutil.rmtree(args.out / name, ignore_errors=True)
        shutil.move(args.work / f"{name}-new", args.out / name)
        parameters = sum(p.stat().st_size for p in (args.out / name).glob("*.safetensors")) // 2
        minutes = round((time.perf_counter() - began) / 60, 1)
        made = card() | {name: {"parameters": parameters, "minutes": minutes, **facts}}
        card_path.write_text(json.dumps(made, indent=1) + "\n")
        AutoTokenizer.from_pretrained(args.out / name)


if __name__ == "__main__":
    main()
