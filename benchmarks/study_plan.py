"""How long it takes to plan a study of a thousand runs.

    python benchmarks/study_plan.py [--seeds 12] [--rows 1000]

Made-up rows of 3 tasks in 9 languages, single and multi-task runs, 3 groups, 8 budgets; the pocket model's tokenizer.
Prints the seconds of one plan (rows read and compared, languages identified, nested subsets hashed, tokens and flops
counted, all written) and how many of them the identification takes. Libraries are imported before.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import yaml

from saltjax import api
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.pocket.models import pocket_llm
from saltjax.study import pools
from saltjax.study.identify import Identifier

LANGUAGES = ("en", "es", "fr", "ja", "zh", "de", "ar", "ko", "pt")
WORDS = {
    "en": "the house and river of many small green words when they go over there",
    "es": "la casa y el río de muchas palabras verdes cuando ellos van por allí",
    "fr": "la maison et la rivière de beaucoup de mots verts quand ils vont là-bas",
    "ja": "これは とても 小さな 家 です 川の そばに あります 言葉が たくさん",
    "zh": "这是 一座 很小的 房子 在河边 有 许多 绿色的 词语 他们 走过去",
    "de": "das Haus und der Fluss aus vielen kleinen grünen Wörtern wenn sie dorthin gehen",
    "ar": "البيت والنهر من كلمات كثيرة خضراء صغيرة عندما يذهبون إلى هناك",
    "ko": "작은 집 과 강 은 많은 초록색 단어 로 그들이 거기 갈 때",
    "pt": "a casa e o rio de muitas palavras verdes quando eles vão para lá",
}


def write_rows(path: Path, language: str, count: int, rng: random.Random) -> None:
    words = WORDS[language].split()
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            prompt, completion = (" ".join(rng.choices(words, k=length)) for length in (20, 12))
            file.write(json.dumps({"prompt": f"{prompt} {number}", "completion": completion}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--rows", type=int, default=1000)
    given = parser.parse_args()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        for task in ("summaries", "chat", "maths"):
            for language in LANGUAGES:
                write_rows(folder / f"{task}.{language}.jsonl", language, given.rows, rng)
                write_rows(folder / f"{task}.{language}.test.jsonl", language, 100, random.Random(task + language))
        study = {
            "models": {"pocket": str(pocket_llm())},
            "tasks": {
                task: {
                    "train": f"{room}/{task}.{{language}}.jsonl",
                    "test": f"{room}/{task}.{{language}}.test.jsonl",
                    "metric": "rouge",
                }
                for task in ("summaries", "chat", "maths")
            },
            "languages": {"core": "en", "core_rows": given.rows * 3 // 4, "seen": list(LANGUAGES[1:5]),
                          "unseen": list(LANGUAGES[5:])},
            "groups": {"latin": ["es", "fr"], "non-latin": ["ja", "zh"], "mixed": ["es", "fr", "ja", "zh"]},
            "budgets": [0, *(given.rows // 2 // 2**i for i in range(6, -1, -1))],
            "settings": ["single", "multi"],
            "train_for": ["3 epochs"],
            "seeds": list(range(given.seeds)),
            "finetune": {"seq_len": 512},
        }  # fmt: skip
        file = folder / "study.yaml"
        file.write_text(yaml.safe_dump(study), encoding="utf-8")
        Identifier(LANGUAGES)(list(WORDS.values()))  # lingua reads its models at the first call
        load_tokenizer(pocket_llm())  # transformers imports at its first call
        identify, seconds = pools.Identifier.__call__, 0.0

        def timed(self: Identifier, texts: list[str]) -> list[str | None]:
            nonlocal seconds
            began = time.perf_counter()
            found = identify(self, texts)
            seconds += time.perf_counter() - began
            return found

        Identifier.__call__ = timed  # type: ignore[method-assign]
        began, busy = time.perf_counter(), time.process_time()
        record = api.study_plan(file, folder / "out", on="H100")
        whole, busy = time.perf_counter() - began, time.process_time() - busy
        runs, rows = record["runs"], 3 * 5 * given.rows
        print(f"{runs:,} runs of {rows:,} rows planned in {whole:.2f} s ({busy:.2f} s of computing),")
        print(f"{seconds:.2f} s of it to identify the rows' languages; manifest {record['manifest_sha256'][:16]}")


if __name__ == "__main__":
    main()
