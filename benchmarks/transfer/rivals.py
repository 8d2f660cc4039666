"""The loops that people write, and the tools that they install, on the same arrays.

Each gives the rows of the first `few` new tokens; those that solve SALT's own regression are given the neighbours for
nothing. The tools are imported where they are used: `pip install -e '.[bench]'`.
"""

import importlib.util
import logging
import os
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from transfer.problems import Problem

Rows = Callable[[], np.ndarray]


def pinv_loop(problem: Problem, indices: np.ndarray, support: np.ndarray, few: int, dtype: type) -> Rows:
    """The paper's form: X = pinv(E't) E's for one token after the other."""

    def rows() -> np.ndarray:
        found = []
        for i in range(few):
            near = indices[i, : support[i]]
            X = np.linalg.pinv(problem.target_shared[near].astype(dtype)) @ problem.table[near].astype(dtype)
            found.append(problem.target_new[i].astype(dtype) @ X)
        return np.array(found)

    return rows


def torch_lstsq(problem: Problem, indices: np.ndarray, support: np.ndarray, few: int) -> Rows:
    """The same with torch.linalg.lstsq and its default driver."""
    import torch

    new, shared, table = map(torch.from_numpy, (problem.target_new, problem.target_shared, problem.table))

    def rows() -> np.ndarray:
        found = []
        for i in range(few):
            near = torch.from_numpy(indices[i, : support[i]].astype(np.int64))
            found.append((new[i] @ torch.linalg.lstsq(shared[near], table[near]).solution).numpy())
        return np.array(found)

    return rows


def deepfocus(problem: Problem, few: int) -> Rows:
    """FOCUS: similarities, sparsemax and weighted means, as the library does it."""
    os.environ["TQDM_DISABLE"] = "1"
    import torch
    from deepfocus.focus import focus_additional_token_initialization

    logging.getLogger("deepfocus").setLevel(logging.ERROR)
    tensor = torch.from_numpy
    shared = {
        str(i): SimpleNamespace(auxiliary_embedding=tensor(a), source_embedding=tensor(e))
        for i, (a, e) in enumerate(zip(problem.aux_shared, problem.table, strict=True))
    }
    new = {
        str(i): SimpleNamespace(auxiliary_embedding=tensor(a), target=SimpleNamespace(id=i))
        for i, a in enumerate(problem.aux_new[:few])
    }
    return lambda: focus_additional_token_initialization(shared, new, torch.zeros(few, problem.table.shape[1])).numpy()


def mergekit(problem: Problem, few: int, k: int, omp: bool) -> Rows:
    """tokensurgeon's least squares over the k nearest PLM rows (cosine), or orthogonal matching pursuit with k."""
    import torch
    from mergekit.tokensurgeon import common_interpolation
    from mergekit.tokensurgeon import omp as matching

    new, shared, table = map(torch.from_numpy, (problem.target_new[:few], problem.target_shared, problem.table))

    def rows() -> np.ndarray:
        found = []
        for start in range(0, few, 512):
            targets = new[start : start + 512]
            if omp:
                indices, weights = matching.batch_omp(targets, shared, k)
            else:
                indices, weights = common_interpolation.common_interp_approximate(
                    targets, shared, k,
                    common_interpolation.DistanceMetric.COSINE, common_interpolation.WeightingScheme.LEAST_SQUARES,
                )  # fmt: skip
            found.append(torch.bmm(weights.unsqueeze(1).float(), table[indices]).squeeze(1).numpy())
        return np.concatenate(found)

    return rows


def installed(problem: Problem, indices: np.ndarray, support: np.ndarray, few: int) -> dict[str, tuple[int, Rows]]:
    """name -> (tokens, call). The slow ones get fewer tokens; all are scaled to a second."""
    has = lambda name: importlib.util.find_spec(name) is not None  # noqa: E731
    found: dict[str, tuple[int, Rows]] = {
        "numpy pinv float64, X formed": (few, pinv_loop(problem, indices, support, few, np.float64)),
        "numpy pinv float32, X formed": (few, pinv_loop(problem, indices, support, few, np.float32)),
    }
    if has("torch"):
        found["torch lstsq float32, X formed"] = (few, torch_lstsq(problem, indices, support, few))
    if has("deepfocus"):
        many = min(len(support), 10 * few)
        found["deepfocus (FOCUS)"] = (many, deepfocus(problem, many))
    if has("mergekit"):
        k = min(64, len(problem.aux_shared))
        found[f"mergekit least squares, k {k}"] = (few, mergekit(problem, few, k, omp=False))
        found[f"mergekit OMP, k {k}"] = (few, mergekit(problem, few, k, omp=True))
    return found
