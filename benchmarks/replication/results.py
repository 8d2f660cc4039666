"""What a replication found, as Markdown and a picture, from the files in WORK/arms (and WORK/scores) alone.

    python benchmarks/replication/results.py WORK [--doc docs/replication.md]

Writes WORK/results.md and WORK/curves.png; with --doc, the same between the markers of that file (made of `frame.md`
when it does not exist), and the picture beside it.
"""

import argparse
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from answertable import answer_table
from arms import OWN
from markdown import head, row
from pictures import curves
from tables import Mean, Record, at, chosen, differences, interval, mean, rank_correlation, speedup

BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"
SCORES = ("r2", "cosine", "mrr")


def write_results(work: Path, doc: Path | None = None) -> Path:
    """WORK/results.md. Raises SystemExit when no arm is done."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((work / "arms").glob("*.json"))]
    if not records:
        raise SystemExit(f"{work}/arms holds no results yet")
    languages = sorted({one["language"] for one in records})
    methods = list(dict.fromkeys(one["method"] for one in records if one["plm"] == "bert"))
    lines = [*_head(records, languages), ""]
    for language in languages:
        lines += [f"### {language}", "", *_language(records, language, methods), ""]
    lines += ["*faster*: the Gaussian's steps to its own best value, over this method's steps to the same value.", ""]
    scores = _scores(work, records, languages)
    for part in (_paired(records, methods), _plms(records, languages), scores, answer_table(work)):
        lines += [*part, ""]
    text = re.sub("\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"
    (work / "results.md").write_text(text, encoding="utf-8")
    picture = curves(work / "curves.png", records, methods)
    if doc:
        _into(doc, text)
        shutil.copyfile(picture, doc.with_suffix(".png"))
    return work / "results.md"


def _head(records: Sequence[Record], languages: Sequence[str]) -> Iterator[str]:
    settings = sorted({one["setting"] for one in records})
    yield f"Setting {', '.join(settings)}; {len(records)} arms are done, {_hours(records)} hours of computing."
    for language in languages:
        seeds: dict[str, int] = {}
        for one in records:
            if one["language"] == language and one["plm"] == "bert":
                seeds[one["method"]] = seeds.get(one["method"], 0) + 1
        counts = {count: [name for name in seeds if seeds[name] == count] for count in sorted({*seeds.values()})}
        parts = [f"{count} of {', '.join(names)}" for count, names in counts.items()]
        yield f"- {language}: seeds {'; '.join(parts)}. {_unknown(records, language)}"


def _hours(records: Sequence[Record]) -> str:
    return f"{sum(one['seconds'] for one in records) / 3600:.1f}"


def _unknown(records: Sequence[Record], language: str) -> str:
    """Of the held-out texts, with each PLM's vocabulary."""
    found = {
        f"{unknown} of {tokens} ({'English' if text == 'en' else text}, {one['plm']})": None
        for one in records
        if one["language"] == language and one["method"] != OWN
        for text, (unknown, tokens) in one["unknown"].items()
    }
    return f"Unknown tokens in held-out text, which flatter: {', '.join(found)}."


def _language(records: Sequence[Record], language: str, methods: Sequence[str]) -> Iterator[str]:
    """Means and deviations over seeds, the lowest last value first."""
    of = {name: found for name in methods if (found := chosen(records, language=language, plm="bert", method=name))}
    steps = [step for step, _ in next(iter(next(iter(of.values())).values()))["bits_per_byte"][language]]
    shown = [steps[i] for i in sorted({0, 1, len(steps) // 2, len(steps) - 1})]

    def value(name: str, text: str, step: int) -> Mean:
        return mean([at(one, text, step) for one in of[name].values()])

    names = ["method", *(f"step {step}" for step in shown), "faster", "English, step 0", f"English, step {steps[-1]}"]
    yield from head(names)
    for name in sorted(of, key=lambda name: value(name, language, -1).mean):
        cells = [str(value(name, language, step)) for step in shown]
        english = [str(value(name, "en", step)) for step in (0, -1)]
        yield row([name, *cells, _faster(of[name], of.get("gaussian", {})), *english])


def _faster(ours: dict[int, Record], baseline: dict[int, Record]) -> str:
    found = [speedup(ours[seed], baseline[seed]) for seed in ours if seed in baseline]
    reached = [one for one in found if one is not None]
    parts = [] if not reached else ["there at step 0" if np.isinf(reached).all() else f"{np.mean(reached):.2f}×"]
    if len(reached) < len(found):
        parts.append(f"never in {len(found) - len(reached)} of {len(found)}")
    return ", ".join(parts)


def _paired(records: Sequence[Record], methods: Sequence[str]) -> Iterator[str]:
    yield "### SALT against each method, over all languages and seeds"
    yield ""
    yield from head(["SALT less", "step 0", "last step", "SALT is lower", "English, last step", "pairs"])
    for other in methods:
        cells = [differences(records, "salt", other, name, step) for name, step in ((None, 0), (None, -1), ("en", -1))]
        if other != "salt" and cells[0]:
            first, last, english = (_difference(values) for values in cells)
            wins = f"{sum(value < 0 for value in cells[1])} of {len(cells[1])}"
            yield row([other, first, last, wins, english, str(len(cells[1]))])
    yield ""
    yield "Differences in bits per byte, paired by language and seed (below zero: SALT is better), with the 95 %"
    yield "interval of their mean by Student's t, which takes the pairs for independent."


def _difference(values: Sequence[float]) -> str:
    return f"{np.mean(values):+.3f}" + (f" ± {interval(values):.3f}" if len(values) > 1 else "")


def _plms(records: Sequence[Record], languages: Sequence[str]) -> Iterator[str]:
    others = {one["method"] for one in records if one["plm"] != "bert"}
    if not others:
        return
    yield "### The PLM's architecture"
    yield ""
    yield from head(["language", "method", "PLM", "step 0", "last step", "less the Gaussian's", "English", "seeds"])
    for language in languages:
        for method in sorted(others):
            for plm in ("bert", "gpt", "t5"):
                found = chosen(records, language=language, plm=plm, method=method)
                gaussian = chosen(records, language=language, plm=plm, method="gaussian")
                gains = [at(found[s], language, -1) - at(gaussian[s], language, -1) for s in found if s in gaussian]
                if found:
                    first, last, english = (
                        str(mean([at(one, text, step) for one in found.values()]))
                        for text, step in ((language, 0), (language, -1), ("en", -1))
                    )
                    gain = f"{np.mean(gains):+.3f}" if gains else ""
                    yield row([language, method, plm, first, last, gain, english, str(len(found))])


def _scores(work: Path, records: Sequence[Record], languages: Sequence[str]) -> Iterator[str]:
    """Rank correlation of scores that need no training with bits per byte, over methods."""
    files = {language: work / "scores" / f"{language}.json" for language in languages}
    files = {language: path for language, path in files.items() if path.exists()}
    if not files:
        return
    yield "### Held-out scores and bits per byte: Spearman's rank correlation over methods"
    yield ""
    yield from head(["language", "methods", *(f"{name}, {when}" for name in SCORES for when in ("step 0", "last"))])
    for language, path in files.items():
        scores = json.loads(path.read_text(encoding="utf-8"))
        cells, count = [], 0
        for name in SCORES:
            for step in (0, -1):
                losses = {}
                for method in scores:
                    if found := chosen(records, language=language, plm="bert", method=method):
                        losses[method] = mean([at(one, language, step) for one in found.values()]).mean
                rho, count = rank_correlation({method: one[name] for method, one in scores.items()}, losses)
                cells.append(f"{rho:.2f}")
        yield row([language, str(count), *cells])


def _into(doc: Path, text: str) -> None:
    frame = doc if doc.exists() else Path(__file__).with_name("frame.md")
    before, begin, rest = frame.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{doc}: the lines {BEGIN} and {END} are missing")
    picture = f"![Held-out bits per byte during adaptation]({doc.stem}.png)"
    doc.write_text(f"{before}{BEGIN}\n\n{text}\n{picture}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--doc", type=Path)
    given = parser.parse_args()
    print(write_results(given.work, given.doc))


if __name__ == "__main__":
    main()
