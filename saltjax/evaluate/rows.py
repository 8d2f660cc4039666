"""Trees share rows, as packed pieces do in training: a row of trunks, and beside it rows of their branches.

Each trunk of a row is a segment of its own. The branches of a tree are segments of the same number in different rows
beside it, where they see their trunk through the cache of the row and not each other.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from saltjax.evaluate.trees import Tree
from saltjax.models.generation import rung

WIDTH = 256  # of a row, where no trunk is longer; wider rows waste less room and spend more on attention
OPEN = 64  # rows at a time that a tree is offered


class Shape(NamedTuple):
    """Sizes of a row: so many trunk columns, `branches` rows of `side` columns beside it, so many scored places."""

    width: int
    branches: int
    side: int
    places: int


@dataclass
class Row:
    """Trees with where they begin: (tree's number, tree, column of its trunk, (row, column) of each branch)."""

    width: int
    side: int
    used: int = 0
    beside: list[int] = field(default_factory=list)
    placed: list[tuple[int, Tree, int, list[tuple[int, int]]]] = field(default_factory=list)

    def take(self, number: int, tree: Tree, trunk: int, alone: bool) -> bool:
        """Puts the tree in if it fits; `trunk` of its trunk's columns are to be put. The least filled rows take its
        longest branches."""
        if self.used + trunk > self.width or (alone and self.placed):
            return False
        order = sorted(range(len(tree.branches)), key=lambda i: -len(tree.branches[i]))
        free = sorted(range(len(self.beside)), key=self.beside.__getitem__)[: len(order)]
        chosen = dict(zip(order, free, strict=True))
        if any(self.beside[row] + len(tree.branches[i]) - 1 > self.side for i, row in chosen.items()):
            return False
        self.placed.append((number, tree, self.used, [(chosen[i], self.beside[chosen[i]]) for i in range(len(order))]))
        for i, row in chosen.items():
            self.beside[row] += len(tree.branches[i]) - 1
        self.used += trunk
        return True


def rows(trees: Sequence[Tree], root: int = 0) -> Iterator[tuple[Shape, list[Row]]]:
    """Rows of few shapes that hold all trees, the widest first. `root` columns of every trunk are elsewhere already.

    With a root each row has one tree: the root's segment is one, so that two trunks would see each other. Rows beside
    are no wider than the trunks' unless a branch is: where contexts are short (or only BOS) trunk columns stay empty.
    """
    order = sorted(range(len(trees)), key=lambda i: (-len(trees[i].trunk), i))
    branches = max(len(tree.branches) for tree in trees)
    columns = sum(len(tree.trunk) - root for tree in trees)
    beside = sum(len(branch) - 1 for tree in trees for branch in tree.branches)
    filled: list[Row] = []
    sides: dict[int, int] = {}
    for i in order:
        trunk = len(trees[i].trunk) - root
        width = rung(max(trunk, 32 if root else WIDTH))
        if width not in sides:
            same = [tree for tree in trees if rung(max(len(tree.trunk) - root, 32 if root else WIDTH)) == width]
            longest = max(len(branch) - 1 for tree in same for branch in tree.branches)
            share = 0 if root else min(width, math.ceil(1.1 * width * beside / (branches * columns)))
            sides[width] = _even(max(longest, share)) if beside else 0
        if not any(row.take(i, trees[i], trunk, bool(root)) for row in filled[-OPEN:]):
            filled.append(Row(width, sides[width], beside=[0] * branches))
            filled[-1].take(i, trees[i], trunk, alone=True)
    for width, side in dict.fromkeys((row.width, row.side) for row in filled):
        some = [row for row in filled if (row.width, row.side) == (width, side)]
        places = max(sum(1 + len(tree.trunk) - tree.scored for _, tree, _, _ in row.placed) for row in some)
        yield Shape(width, branches, side, min(width, rung(places))), some


def _even(size: int) -> int:
    """The next multiple of 16."""
    return -(-size // 16) * 16


class Batch(NamedTuple):
    """What one run of the program reads: the trunks [b, t], the places that score in them [b, n], the rows beside."""

    tokens: Int[np.ndarray, "b t"]
    positions: Int[np.ndarray, "b t"]
    segments: Int[np.ndarray, "b t"]
    at: Int[np.ndarray, "b n"]
    targets: Int[np.ndarray, "b n k"]
    side_tokens: Int[np.ndarray, "bk s"]
    side_positions: Int[np.ndarray, "bk s"]
    side_segments: Int[np.ndarray, "bk s"]
    side_targets: Int[np.ndarray, "bk s"]


class Owners(NamedTuple):
    """Which choice (counted from `first[tree]`) each target belongs to, -1 for none."""

    trunk: Int[np.ndarray, "b n k"]
    side: Int[np.ndarray, "bk s"]


def batch(shape: Shape, some: Sequence[Row], size: int, first: Sequence[int], root: int = 0) -> tuple[Batch, Owners]:
    """`some` rows as arrays of `size` rows. Tree i's choices have the numbers `first[i]` + owner."""
    width, k, side, places = shape
    wide, beside = np.zeros((3, size, width), np.int32), np.zeros((4, size, k, side), np.int32)
    at, targets = np.zeros((size, places), np.int32), np.zeros((size, places, k), np.int32)
    owner, side_owner = np.full((size, places, k), -1), np.full((size, k, side), -1)
    for r, row in enumerate(some):
        place = 0
        for segment, (i, tree, column, branches) in enumerate(row.placed, 1):
            n, numbers = len(tree.trunk), [first[i] + own for own in tree.owners]
            end = column + n - root
            wide[0, r, column:end] = tree.trunk[root:]
            wide[1, r, column:end] = range(root, n)
            wide[2, r, column:end] = segment
            inner = n - tree.scored  # the trunk's own scored tokens, each predicted one column before
            at[r, place : place + inner + 1] = range(end - 1 - inner, end)
            targets[r, place : place + inner, : len(numbers)] = np.array(tree.trunk[tree.scored :])[:, None]
            targets[r, place + inner, : len(numbers)] = [branch[0] for branch in tree.branches]
            owner[r, place : place + inner + 1, : len(numbers)] = numbers
            place += inner + 1
            for branch, number, (b, start) in zip(tree.branches, numbers, branches, strict=True):
                stop = start + len(branch) - 1
                beside[0, r, b, start:stop] = branch[:-1]
                beside[1, r, b, start:stop] = range(n, n + len(branch) - 1)
                beside[2, r, b, start:stop] = segment
                beside[3, r, b, start:stop] = branch[1:]
                side_owner[r, b, start:stop] = number
    tokens, positions, segments = wide
    return Batch(tokens, positions, segments, at, targets, *beside.reshape(4, size * k, side)), Owners(
        owner, side_owner.reshape(size * k, side)
    )
