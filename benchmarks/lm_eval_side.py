"""lm-evaluation-harness on local files: its own tasks, prompts and model code, pointed at a folder of sets.

    from lm_eval_side import scores          # needs lm_eval, datasets and torch
    python benchmarks/lm_eval_side.py MODEL FOLDER OUT.json xnli:de m_arc:de   # the log-likelihoods of every choice

A task's YAML is included as it is in the package; only the place of its data is changed.
"""

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

from saltjax.evaluate.formats import json_lines, json_list, tab_separated

# Our name without the language -> their YAML, and the files of their splits.
THEIRS = {
    "xnli": ("xnli/xnli_{}.yaml", {"validation": "xnli/dev-{}.tsv"}),
    "pawsx": ("paws-x/paws_{}.yaml", {"test": "pawsx/dev-{}.tsv"}),
    "xcopa": ("xcopa/default_{}.yaml", {"test": "xcopa/test.{}.jsonl"}),
    "m_arc": ("okapi/arc_multilingual/arc_{}.yaml", {"test": "m_arc/{}_test.json"}),
    "m_hellaswag": ("okapi/hellaswag_multilingual/hellaswag_{}.yaml", {"validation": "m_hellaswag/{}_validation.json"}),
    "m_mmlu": ("okapi/mmlu_multilingual/m_mmlu_{}.yaml", {"test": "m_mmlu/{}_val.json", "train": "m_mmlu/{}_dev.json"}),
    "m_truthfulqa": (
        "okapi/truthfulqa_multilingual/truthfulqa_{}_mc2.yaml",
        {"validation": "m_truthfulqa/{}_validation.json"},
    ),
}
LABELS = {"entailment": 0, "neutral": 1, "contradiction": 2, "0": 0, "1": 1}


def rows(path: Path) -> list[dict[str, Any]]:
    """A file's rows with the hub's fields."""
    match path.parent.name:
        case "xnli":
            found = list(tab_separated("premise", "hypothesis", "label")(path))
        case "pawsx":
            found = list(tab_separated("sentence1", "sentence2", "label")(path))
        case "xcopa":
            return list(json_lines(path))
        case _:
            return [{"option_e": None, "option_d": None} | row for row in json_list(path)]
    return [row | {"label": LABELS[row["label"]]} for row in found]


def _found(folder: Path, name: str) -> Path:
    return next(path for path in (folder / name, folder / f"{name}.xz") if path.is_file())


def local_tasks(folder: Path, names: list[str], room: Path) -> dict[str, str]:
    """Writes the tasks' YAML files into `room`; our name -> their name."""
    import lm_eval

    own = {}
    for name in names:
        word, _, language = name.partition(":")
        yaml, files = THEIRS[word]
        made = {}
        for split, file in files.items():
            made[split] = str(room / f"{word}-{language}-{split}.jsonl")
            lines = [json.dumps(row, ensure_ascii=False) for row in rows(_found(folder, file.format(language)))]
            Path(made[split]).write_text("\n".join(lines) + "\n", encoding="utf-8")
        own[name] = f"local_{word}_{language}"
        config = {
            "include": str(Path(lm_eval.__file__).parent / "tasks" / yaml.format(language)),
            "task": own[name],
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": made},
            **{f"{split}_split": split if split in made else None for split in ("training", "validation", "test")},
        }
        (room / f"{own[name]}.yaml").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
    return own


class Harness:
    """A PyTorch model in lm-evaluation-harness, float32 on this machine's CPU."""

    def __init__(self, model: str | Path, folder: Path, names: list[str], batch_size: int = 16):
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        self._room = tempfile.TemporaryDirectory()
        self.names = local_tasks(Path(folder), names, Path(self._room.name))
        self.tasks = TaskManager(include_path=self._room.name, include_defaults=False)
        self.model = HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=batch_size)

    def run(self, name: str, limit: int | None = None, shots: int = 0) -> dict[str, Any]:
        """What `simple_evaluate` gives for one of our names."""
        from lm_eval import simple_evaluate

        return simple_evaluate(
            self.model, tasks=[self.names[name]], task_manager=self.tasks, limit=limit, num_fewshot=shots or None,
            log_samples=True, bootstrap_iters=0, verbosity="ERROR",
        )  # fmt: skip

    def scores(self, name: str, limit: int | None = None, shots: int = 0) -> list[list[float]]:
        """The log-likelihoods of every question's choices."""
        samples = self.run(name, limit, shots)["samples"][self.names[name]]
        return [[float(one[0][0]) for one in sample["resps"]] for sample in sorted(samples, key=lambda s: s["doc_id"])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("tasks", nargs="+", help="NAME:LANG, or NAME:LANG+SHOTS")
    options = parser.parse_args()
    import lm_eval

    harness = Harness(options.model, options.folder, [task.partition("+")[0] for task in options.tasks])
    found = {
        task: harness.scores(task.partition("+")[0], shots=int(task.partition("+")[2] or 0)) for task in options.tasks
    }
    tasks = [
        f'  "{task}": [\n' + ",\n".join(f"   {json.dumps([round(one, 4) for one in row])}" for row in rows) + "\n  ]"
        for task, rows in found.items()
    ]
    head = f' "lm_eval": "{lm_eval.__version__}",\n "model": "{options.model}",\n'
    options.out.write_text("{\n" + head + ' "scores": {\n' + ",\n".join(tasks) + "\n }\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
