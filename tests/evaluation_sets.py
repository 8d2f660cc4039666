"""Small evaluation sets in their original formats and layout, made of the pocket text: `write(folder)`.

Labels and wrong answers mean nothing; what is asked is real text in four languages.
"""

import json
from pathlib import Path

TEXT = Path(__file__).parents[1] / "saltjax/pocket/text"


def read(name, count):
    return [json.loads(line) for line in (TEXT / name).read_text(encoding="utf-8").split("\n")[:count] if line]


QA, MATHS, EVERYDAY = read("qa.jsonl", 24), read("maths.jsonl", 12), read("everyday.jsonl", 40)


def squad(context, question, count=12):
    """Questions in one language about passages in another; those of one passage stand together."""
    passages = {}
    for row in QA[:count]:
        text, answer = row["context"][context], row["answer"][context]
        answers = [{"text": answer, "answer_start": text.find(answer)}]
        asked = {"id": row["id"], "question": row["question"][question], "answers": answers}
        passages.setdefault(text, []).append(asked)
    paragraphs = [{"context": text, "qas": asked} for text, asked in passages.items()]
    return {"version": "1.1", "data": [{"title": "x", "paragraphs": paragraphs}]}


def wrong(language, index, count=3):
    """Answers of other questions."""
    return [QA[(index + 3 * step + 1) % len(QA)]["answer"][language] for step in range(count)]


def options(language, count=12, options=4, start=0):
    rows = []
    for index, row in enumerate(QA[start : start + count], start):
        answers, right = wrong(language, index, options - 1 - (index == 2)), index % (options - 1)
        answers.insert(right, row["answer"][language])
        named = {f"option_{letter}": answer for letter, answer in zip("abcde", answers, strict=False)}
        asked = f"{row['context'][language]} {row['question'][language]}"
        rows.append({"id": f"set/test/{index}", "instruction": asked, "answer": "ABCDE"[right], **named})
    return rows


def truthful(language, count=8):
    rows = []
    for index, row in enumerate(QA[:count]):
        right, others = row["answer"][language], wrong(language, index, 3 + index % 3)
        rows.append(
            {
                "question": row["question"][language],
                "mc1_targets_choices": [right, *others],
                "mc1_targets_labels": [1] + [0] * len(others),
                "mc2_targets_choices": [right, f"{right}!", *others],
                "mc2_targets_labels": [1, 1] + [0] * len(others),
            }
        )
    return rows


def xnli(language, count=12):
    lines = [row[language].replace("\t", " ") for row in EVERYDAY]
    labels = ("neutral", "contradiction", "entailment")
    return [(lines[3 * (i // 3)], lines[i + 15], labels[i % 3]) for i in range(count)]


def pawsx(language, count=10):
    lines = [row[language].replace("\t", " ") for row in EVERYDAY]
    pairs = [(f'{lines[i]} ( {lines[i + 1]} )"', lines[i + 2].replace(".", " ."), str(i % 2)) for i in range(count)]
    return [*pairs, ("NS", "NS", "0")]


def xcopa(language, count=10, start=0):
    lines = [row[language] for row in EVERYDAY]
    return [
        {
            "premise": lines[i],
            "choice1": lines[i + 7],
            "choice2": lines[i + 9],
            "question": kind,
            "label": i % 2,
            "idx": i,
        }
        for i in range(start, start + count)
        for kind in [("cause", "effect")[i % 2]]
    ]


def hellaswag(language, count=10):
    lines = [row[language] for row in EVERYDAY]
    return [
        {
            "ind": i, "activity_label": f"Nr. {i} [title] x", "ctx_a": lines[i], "ctx_b": lines[i + 1].lower(),
            "endings": [f"{lines[i + 4 + j]} [step] y" for j in range(4)], "label": str(i % 4),
        }
        for i in range(count)
    ]  # fmt: skip


def write(folder):
    """All of them in `folder`, laid out as docs/evaluation.md says. Returns it."""
    folder = Path(folder)

    def text(name, content):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")

    def lines(name, rows):
        text(name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def columns(name, rows):
        text(name, "".join("\t".join(row) + "\n" for row in rows))

    for language in ("de", "ar", "vi", "en"):
        text(f"xquad/xquad.{language}.json", json.dumps(squad(language, language)))
        columns(f"xnli/dev-{language}.tsv", xnli(language))
    for context, question in (("de", "de"), ("de", "en"), ("ar", "ar")):
        text(f"mlqa/dev-context-{context}-question-{question}.json", json.dumps(squad(context, question)))
    text("tydiqa/tydiqa.goldp.ar.dev.json", json.dumps(squad("ar", "ar")))
    columns("pawsx/dev-de.tsv", pawsx("de"))
    lines("xcopa/test.vi.jsonl", xcopa("vi"))
    lines("xcopa/val.vi.jsonl", xcopa("vi", 4, start=20))
    for language in ("de", "vi"):
        text(f"m_arc/{language}_test.json", json.dumps(options(language)))
        text(f"m_arc/{language}_validation.json", json.dumps(options(language, 5, 5, start=12)))
        text(f"m_mmlu/{language}_val.json", json.dumps([{"option_d": "x"} | row for row in options(language)]))
        text(
            f"m_mmlu/{language}_dev.json",
            json.dumps([{"option_d": "x"} | row for row in options(language, 5, start=12)]),
        )
        text(f"m_truthfulqa/{language}_validation.json", json.dumps(truthful(language)))
        text(f"m_hellaswag/{language}_validation.json", json.dumps(hellaswag(language)))
    columns("mgsm/mgsm_de.tsv", [(row["question"]["de"], str(row["answer"])) for row in MATHS])
    lines(
        "msvamp/test_German.json",
        [{"m_query": r["question"]["de"], "response": str(float(r["answer"]))} for r in MATHS],
    )
    solved = [{"question": r["question"]["en"], "answer": f"So <<1+1=2>>.\n#### {r['answer']}"} for r in MATHS]
    lines("gsm8k/test.jsonl", solved[:6])
    lines("gsm8k/train.jsonl", solved[6:])
    return folder
