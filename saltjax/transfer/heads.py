"""What stands behind the last layer: rows of an untied head, and its bias."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from saltjax.errors import UserError
from saltjax.hub.tensors import Checkpoint
from saltjax.hub.vocabtables import VocabTables
from saltjax.transfer.initialisation import Initialisation
from saltjax.transfer.problem import rows_in_use

Head = Literal["auto", "same", "rerun", "map", "scale"]
Bias = Literal["mixed", "zero", "unigram"]
ROWS = 4096  # in memory as float64
RIDGE = 1e-4  # of the mean eigenvalue of the input rows' Gram matrix


@dataclass(frozen=True)
class Output:
    """How the rows of new tokens in an untied head are made. Copied and special tokens keep the head's own rows, bit
    for bit; fallback tokens get N(mean, std) of the head's rows, whatever is chosen.

    - head "same" ("auto" is that): the rule on the head's table. A mixture's weights belong to the token, so they are
      those of its input row. "rerun": the method once more with the PLM's output table in place of its input table;
      `rerun` is that. "map": `(e - mean E) M + mean W`, e the new input row and M the least-squares map from the
      source's input rows E to its head rows W, both less their means, with a ridge of 1e-4 of E'E's mean eigenvalue.
      "scale": `e * mean |W_i| / mean |E_i|`, the input row at the head's mean norm.
    - bias "mixed": like the head's rows, a number a token. "zero": 0 for new and fallback tokens. "unigram": for ALL
      tokens `log_frequency` [vt], see `log_frequencies`.
    """

    head: Head = "auto"
    bias: Bias = "mixed"
    rerun: Initialisation | None = None
    log_frequency: Float[np.ndarray, " vt"] | None = None


def check(tables: VocabTables, head: str, bias: str) -> None:
    """Raises UserError for a choice that is unknown, or that the source leaves no room for."""
    if head not in ("auto", "same", "rerun", "map", "scale"):
        raise UserError(f"--head {head} is not known; there are auto, same, rerun, map and scale")
    if bias not in ("mixed", "zero", "unigram"):
        raise UserError(f"--bias {bias} is not known; there are mixed, zero and unigram")
    if head in ("rerun", "map", "scale") and (tables.tied or not tables.heads):
        what = "is its input table (tied)" if tables.tied else "does not exist"
        raise UserError(f"--head {head}: the head of SOURCE {what}, so there are no rows to choose; leave --head out")
    if bias != "mixed" and not tables.biases:
        raise UserError(f"--bias {bias}: the head of SOURCE has no bias (those of Phi and GPT-J do); leave --bias out")


def new_tables(
    checkpoint: Checkpoint, tables: VocabTables, initialisation: Initialisation, output: Output
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(tensor name -> the new table, of the stored dtype; what the report says about the head)."""
    old = checkpoint.read(tables.inputs[0])
    new = initialisation.table("input", old)
    replaced = dict.fromkeys(tables.inputs, new)
    found: dict[str, Any] = {}
    if tables.heads:
        head = checkpoint.read(tables.heads[0])
        if tables.tied:
            table = new
        elif output.head == "map":
            rows, found["map_unexplained"] = mapped(
                old, head, rows_in_use(initialisation.problem), _new(new, initialisation)
            )
            table = replace(initialisation, rule=Given(rows)).table("head", head)
        elif output.head == "scale":
            used = rows_in_use(initialisation.problem)
            found["scale"] = _mean_norm(head, used) / _mean_norm(old, used)
            table = replace(initialisation, rule=Given(_new(new, initialisation) * np.float32(found["scale"]))).table(
                "head", head
            )
        else:
            table = (output.rerun or initialisation).table("head", head)
        replaced |= dict.fromkeys(tables.heads, table)
    for name in tables.biases:
        replaced[name] = _bias(checkpoint.read(name), output.rerun or initialisation, output)
    return replaced, found


@dataclass(frozen=True)
class Given:
    """A rule for one table, whose rows are known."""

    rows: Float[np.ndarray, "n h"]

    def parts(
        self, table: Shaped[np.ndarray, "vs h"]
    ) -> Iterator[tuple[Int[np.ndarray, " n"], slice, Float[np.ndarray, "n h"]]]:
        yield np.arange(len(self.rows), dtype=np.int32), slice(None), self.rows


def mapped(
    inputs_vh: Shaped[np.ndarray, "v h"],
    heads_vo: Shaped[np.ndarray, "v o"],
    used: Int[np.ndarray, " u"],
    new_nh: Float[np.ndarray, "n h"],
) -> tuple[Float[np.ndarray, "n o"], float]:
    """(head rows of new input rows by the global map of `Output`, `||W - E M|| / ||W||` over the rows `used`).

    In float64, a block of rows at a time. A map of all source tokens has many more rows than columns, and is stable
    where one of a token's few neighbours is not.
    """
    blocks = [used[start : start + ROWS] for start in range(0, len(used), ROWS)]
    mean_e = sum(inputs_vh[block].astype(np.float64).sum(axis=0) for block in blocks) / len(used)
    mean_w = sum(heads_vo[block].astype(np.float64).sum(axis=0) for block in blocks) / len(used)
    gram, cross, square = np.zeros((len(mean_e), len(mean_e))), np.zeros((len(mean_e), len(mean_w))), 0.0
    for block in blocks:
        e, w = inputs_vh[block].astype(np.float64) - mean_e, heads_vo[block].astype(np.float64) - mean_w
        gram, cross, square = gram + e.T @ e, cross + e.T @ w, square + np.square(w).sum()
    weight = RIDGE * np.trace(gram) / len(gram)
    matrix = np.linalg.solve(gram + weight * np.eye(len(gram)), cross)
    left = square - 2 * np.sum(matrix * cross) + np.sum(matrix * (gram @ matrix))
    rows = (new_nh - mean_e).astype(np.float32) @ matrix.astype(np.float32) + mean_w
    return rows.astype(np.float32), float(np.sqrt(max(left, 0) / square)) if square else 0.0


def log_frequencies(counts: Int[np.ndarray, " vt"]) -> Float[np.ndarray, " vt"]:
    """`log((c_v + 1) / (N + V))`: how often each token occurs in a text, with one more of each (Laplace)."""
    return np.log((counts + 1) / (counts.sum() + len(counts)))


def _bias(bias: Shaped[np.ndarray, "*vs"], initialisation: Initialisation, output: Output) -> Shaped[np.ndarray, "*vt"]:
    shape = (*bias.shape[:-1], initialisation.problem.target.size)  # BART's has a leading 1
    if output.bias == "unigram":
        assert output.log_frequency is not None
        return output.log_frequency.astype(bias.dtype).reshape(shape)
    values = initialisation.table("bias", bias.reshape(-1))
    if output.bias == "zero":
        values[initialisation.problem.new] = 0
        values[initialisation.problem.fallback] = 0
    return values.reshape(shape)


def _new(table: Shaped[np.ndarray, "vt h"], initialisation: Initialisation) -> Float[np.ndarray, "n h"]:
    return table[initialisation.problem.new].astype(np.float32)


def _mean_norm(table: Shaped[np.ndarray, "v h"], used: Int[np.ndarray, " u"]) -> float:
    blocks = (used[start : start + ROWS] for start in range(0, len(used), ROWS))
    return float(sum(np.linalg.norm(table[b].astype(np.float64), axis=1).sum() for b in blocks) / len(used))
