"""Sibling groups and paths among examples, and how they are drawn for training."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from sadt_ray.flow.examples import NO_PARENT, Examples

NOBODY = -1


class Paths(NamedTuple):
    """N paths from the root to the last node above x_0. The paths of a group share one problem and one lambda."""

    rows: Int[np.ndarray, "N T"]  # root in column 0, then by depth; NOBODY beyond the end of a path
    group: Int[np.ndarray, " N"]


class SiblingGroups:
    """An index of the sibling groups in a part of the examples, for training or for validation.

    A sibling group is a parent with at least ``min_siblings`` children that were drawn from the same distribution.

    Args:
        examples: all rows.
        taken: rows that belong to this part.
        siblings: largest number of children per group that are used at once.
        min_siblings: smallest number of children of a group.
        rng: generator that shuffles the siblings once, so that the first few are a random subset.

    Attributes:
        rows: parents below the root.
    """

    def __init__(
        self,
        examples: Examples,
        taken: Bool[np.ndarray, " R"],
        siblings: int,
        min_siblings: int,
        rng: np.random.Generator,
    ) -> None:
        self._siblings = siblings
        self._parent = parent_rows(examples)
        below = np.flatnonzero((self._parent >= 0) & taken)
        below = below[self._of_next_step(below, examples.position)]
        order = below[np.lexsort((rng.random(len(below)), self._parent[below]))]
        self._children = order
        self._count = np.bincount(self._parent[order], minlength=len(examples))
        self._start = np.concatenate([[0], np.cumsum(self._count)[:-1]]).astype(np.int64)
        is_group = self._count >= min_siblings
        self.rows = np.flatnonzero(is_group & (examples.position > 0) & taken)
        self._num_positions = int(examples.position.max(initial=0))
        self._leaves = self._whole_paths(examples, is_group, taken)
        problem = examples.problem[self._leaves]
        self._leaves = self._leaves[np.argsort(problem, kind="stable")]
        _, self._first_leaf, self._num_leaves = np.unique(np.sort(problem), return_index=True, return_counts=True)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_paths(self) -> int:
        """Number of leaves whose ancestors all have a sibling group."""
        return len(self._leaves)

    def draw(self, count: int, rng: np.random.Generator) -> Int[np.ndarray, " B"]:
        """Draw ``count`` parents below the root, with replacement."""
        return self.rows[rng.integers(0, len(self.rows), count)]

    def draw_paths(self, groups: int, per_group: int, rng: np.random.Generator) -> Paths:
        """Draw groups of paths. Each group belongs to one problem; all problems have the same probability."""
        which = rng.integers(0, len(self._num_leaves), groups)
        drawn = (rng.random((groups, per_group)) * self._num_leaves[which][:, None]).astype(np.int64)
        leaves = self._leaves[self._first_leaf[which][:, None] + drawn].ravel()
        return Paths(self.ancestors(leaves), np.repeat(np.arange(groups), per_group))

    def ancestors(self, rows: Int[np.ndarray, " N"]) -> Int[np.ndarray, "N T"]:
        """Ancestors of x_0, from the root down, each in the column of its depth; NOBODY after the last one."""
        up = []
        while (rows >= 0).any():
            rows = np.where(rows >= 0, self._parent[np.maximum(rows, 0)], NOBODY)
            up.append(rows)
        path = np.stack(up[::-1], axis=1)[:, 1:] if len(up) > 1 else np.full((len(rows), 1), NOBODY)
        first = (path < 0).sum(1)  # shorter paths begin in a later column; move them to the front
        at = np.arange(path.shape[1]) + first[:, None]
        return np.where(at < path.shape[1], np.take_along_axis(path, at % path.shape[1], 1), NOBODY)

    def children(self, rows: Int[np.ndarray, "*N"], rng: np.random.Generator) -> Int[np.ndarray, "*N K"]:
        """K = ``siblings`` children of each row: a random subset if there are more, padded with NOBODY if fewer."""
        flat = np.maximum(rows, 0).ravel()
        count = np.where(rows.ravel() >= 0, self._count[flat], 0)
        turn = np.where(count > self._siblings, (rng.random(len(flat)) * count).astype(np.int64), 0)
        k = np.arange(self._siblings)
        at = self._start[flat][:, None] + (turn[:, None] + k) % np.maximum(count, 1)[:, None]
        children = self._children[np.minimum(at, max(len(self._children) - 1, 0))] if len(self._children) else at * 0
        return np.where(k < count[:, None], children, NOBODY).reshape(*rows.shape, self._siblings)

    def _of_next_step(self, below: np.ndarray, position: np.ndarray) -> Bool[np.ndarray, " N"]:
        """Whether a child is at the nearest position among its siblings. Others come from another distribution."""
        nearest = np.full(len(position), np.iinfo(np.int64).max)
        np.minimum.at(nearest, self._parent[below], position[below])
        return position[below] == nearest[self._parent[below]]

    def _whole_paths(self, examples: Examples, is_group: np.ndarray, taken: np.ndarray) -> Int[np.ndarray, " L"]:
        """Leaves whose ancestors all have a sibling group."""
        whole = is_group & (examples.position == 0)
        for position in range(1, self._num_positions + 1):
            rows = np.flatnonzero((examples.position == position) & (self._parent >= 0) & taken)
            leaf = ~np.isnan(examples.reward[rows])
            whole[rows] = whole[self._parent[rows]] & (is_group[rows] | leaf)
        return np.flatnonzero(whole & ~np.isnan(examples.reward))


def parent_rows(examples: Examples) -> Int[np.ndarray, " R"]:
    """Row of each row's parent; NOBODY for a root, or if the parent is not among the examples."""
    order = np.argsort(examples.node, kind="stable")
    sorted_ids = examples.node[order]
    at = np.minimum(np.searchsorted(sorted_ids, examples.parent), max(len(order) - 1, 0))
    if len(order) == 0:
        return np.zeros(0, np.int64)
    found = (sorted_ids[at] == examples.parent) & (examples.parent != NO_PARENT)
    return np.where(found, order[at], NOBODY)
