"""What a transfer leaves beside the weights: transfer.json, tokens.tsv.gz and the model card."""

import gzip
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

import saltjax
from saltjax.transfer.initialisation import Initialisation
from saltjax.transfer.mixture import Mixture
from saltjax.vocab.vocabulary import Vocabulary

COLUMNS = ("id", "token", "surface", "origin", "k", "residual", "norm", "nearest")


def support_quantiles(rule: object) -> dict[str, int] | None:
    """Median, 90th percentile and maximum of the number of neighbours, or None for methods that have none."""
    if not isinstance(rule, Mixture) or not len(rule.support):
        return None
    median, p90, largest = np.percentile(rule.support, [50, 90, 100])
    return {"median": int(median), "p90": int(p90), "max": int(largest)}


def write_tokens(path: Path, initialisation: Initialisation, embedding: Float[np.ndarray, "vt hs"]) -> None:
    """One line a target token, tab-separated, so that every row's origin can be looked up.

    `surface` is the text with `_` in front where a word starts; `k` the number of neighbours, `residual` the share of
    the PLM's row that they leave unexplained, `norm` the Euclidean norm of the new input row, `nearest` the source
    tokens that it comes from: the three nearest neighbours, or the one it is copied from. Empty where undefined.
    """
    problem, rule = initialisation.problem, initialisation.rule
    origins = dict.fromkeys(problem.overlap.shared, "copied") | dict.fromkeys(problem.overlap.special, "special")
    origins |= dict.fromkeys(problem.new.tolist(), "fitted")
    copied_from = problem.overlap.shared | problem.overlap.special
    row_of = {int(token_id): row for row, token_id in enumerate(problem.new)}
    source_pieces = {token.id: token.piece for token in problem.source.tokens}
    target_tokens = {token.id: token for token in problem.target.tokens}
    norms = np.linalg.norm(embedding.astype(np.float32), axis=1)
    lines = io.StringIO()
    lines.write("\t".join(COLUMNS) + "\n")
    for token_id in range(problem.target.size):
        token, k, residual, nearest = target_tokens.get(token_id), "", "", []
        if token_id in copied_from:
            nearest = [source_pieces.get(copied_from[token_id], "")]  # a hole in an expanded vocabulary is kept too
        elif token_id in row_of and isinstance(rule, Mixture):
            row = row_of[token_id]
            k = str(rule.support[row])
            residual = "" if rule.residual is None else f"{rule.residual[row]:.4f}"
            nearest = [source_pieces[int(i)] for i in rule.indices[row, : min(3, rule.support[row])]]
        lines.write(
            "\t".join(
                (
                    str(token_id),
                    _cell(token.piece if token else ""),
                    _cell(_surface(token.surface) if token and token.surface else ""),
                    origins.get(token_id, "fallback"),
                    k,
                    residual,
                    f"{norms[token_id]:.4f}",
                    " ".join(map(_cell, nearest)),
                )
            )
            + "\n"
        )
    # No name and no time in the gzip header: the same inputs give the same bytes.
    with path.open("wb") as file, gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
        packed.write(lines.getvalue().encode())


def _surface(surface: tuple[bytes, bool | None]) -> str:
    text, word_start = surface
    return ("_" if word_start else "") + text.decode(errors="backslashreplace")


def _cell(text: str) -> str:
    """A tab or a line end inside a token would break the table."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r").replace(" ", "\\s")


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def describe_vocabulary(vocabulary: Vocabulary) -> dict[str, Any]:
    return {"size": vocabulary.size, "scheme": vocabulary.scheme, "tokenizer_sha256": vocabulary.fingerprint}


def write_card(path: Path, record: Mapping[str, Any]) -> None:
    """A model card: what the weights are, what they come from, and what they are not."""
    tokens, settings = record["tokens"], record["settings"]
    expanded = "expansion" in record
    part = f"{record['expansion']['appended']:,} tokens" if expanded else "the vocabulary"
    k = record["k"] or {"median": "-", "p90": "-", "max": "-"}
    path.write_text(
        f"""---
library_name: transformers
tags: [saltjax, vocabulary-transfer]
---

# {settings["source"]} with {part} of {settings["target"]}

The weights are those of `{settings["source"]}`, bit for bit, but for the input embedding, the output head and its
bias, which were given {part} of `{settings["target"]}`{" after their own" if expanded else ""} by
`saltjax transfer --method {settings["method"]}` (saltjax {saltjax.__version__}).

**It has not been trained since.** Adapt it on text of the target language before use (`saltjax adapt`).

| target tokens | copied | fitted | special | fallback (random) |
|---|---|---|---|---|
| {tokens["total"]} | {tokens["copied"]} | {tokens["fitted"]} | {tokens["special"]} | {tokens["fallback"]} |

Anchors: {record["anchors"]}. Neighbours of a fitted token: median {k["median"]}, at most {k["p90"]} for 90 % of them,
never more than {k["max"]}.
Every token's origin is in `tokens.tsv.gz`, settings and fingerprints of the inputs in `transfer.json`.

The licences of both models hold for the result.
""",
        encoding="utf-8",
    )
