"""The nodes that a buffer holds, as arrays: siblings, and paths to the root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sadt_ray.trajectories.schema import FIRST_PARTICLE

ROOT, MISSING = -1, -2  # in place of a parent's row: the node is a root, or its parent is not held
COLUMNS = {
    "problem": np.int32, "directory": np.int32, "node": np.int64, "level": np.int16, "log_flow": np.float32,
    "log_ratio": np.float32, "reward": np.float64, "written": np.float64, "parent": np.int64, "chunk": np.int64,
    "offset": np.int32,
}  # fmt: skip


class Children(NamedTuple):
    """Ragged rows: the children of node k are ``rows[splits[k]:splits[k + 1]]``, oldest first."""

    splits: Int[np.ndarray, " K+1"]
    rows: Int[np.ndarray, " C"]


@dataclass(frozen=True)
class Nodes:
    """N nodes, oldest first, parents before children. The view is immutable; a buffer makes a new one.

    A root has the parent ROOT and level 0. Its children are siblings like any others.
    """

    names: tuple[str, ...]  # names of the problems
    directories: tuple[Path, ...]
    state_shape: tuple[int, ...]
    state_dtype: np.dtype
    problem: Int[np.ndarray, " N"]  # index into names
    directory: Int[np.ndarray, " N"]  # index into directories; nodes of one tree share problem and directory
    node: Int[np.ndarray, " N"]  # id of the node in its directory
    level: Int[np.ndarray, " N"]  # branch level of a tree node; position of a recorded particle, see ``positions``
    log_flow: Float[np.ndarray, " N"]
    log_ratio: Float[np.ndarray, " N"]  # log p / q of the step from the parent
    reward: Float[np.ndarray, " N"]  # NaN above x_0
    written: Float[np.ndarray, " N"]  # seconds since 1970
    parent: Int[np.ndarray, " N"]  # row, ROOT or MISSING
    chunk: Int[np.ndarray, " N"]  # chunk of the state, a key of chunks
    offset: Int[np.ndarray, " N"]  # row of the state in its chunk
    chunks: Mapping[int, np.ndarray]  # states, memory-mapped

    def __len__(self) -> int:
        return len(self.node)

    @property
    def is_leaf(self) -> Bool[np.ndarray, " N"]:
        """Whether each node is x_0."""
        return ~np.isnan(self.reward)

    @property
    def num_levels(self) -> int:
        """Level of the deepest node."""
        return int(self.level.max(initial=0))

    def positions(self, of_level: Sequence[int], rows: Int[np.ndarray, " R"]) -> Int[np.ndarray, " R"]:
        """Of rows of one search, in the chain's finest steps.

        Args:
            of_level: what ``level_positions`` says of the search's process.
        """
        in_tree, level = self.node[rows] < FIRST_PARTICLE, self.level[rows]
        return np.where(in_tree, np.asarray(of_level)[np.where(in_tree, level, 0)], level)

    @cached_property
    def reaches_root(self) -> Bool[np.ndarray, " N"]:
        """Whether all ancestors of each node are held."""
        reaches = self.parent == ROOT
        for level in range(1, self.num_levels + 1):
            rows = np.flatnonzero((self.level == level) & (self.parent >= 0))
            reaches[rows] = reaches[self.parent[rows]]
        return reaches

    @cached_property
    def all_children(self) -> Children:
        """Held children of all nodes."""
        rows = np.flatnonzero(self.parent >= 0)
        parent = self.parent[rows]
        splits = np.concatenate([[0], np.cumsum(np.bincount(parent, minlength=len(self)))])
        return Children(splits, rows[np.argsort(parent, kind="stable")])

    @property
    def num_children(self) -> Int[np.ndarray, " N"]:
        """Number of held children of each node."""
        return np.diff(self.all_children.splits)

    def paths(self, rows: Int[np.ndarray, " K"]) -> Int[np.ndarray, "K L+1"]:
        """Rows on the path from the root (column 0) to each of ``rows``. Each node is in the column of its level.

        A column is -1 if the path has no node there: below the row itself, at a level that it skipped, or above the
        first held node. A recorded particle is in the column of its position.
        """
        path = np.full((len(rows), self.num_levels + 1), -1)
        which, at = np.arange(len(rows)), np.asarray(rows)
        while len(at):
            path[which, self.level[at]] = at
            above = self.parent[at]
            which, at = which[above >= 0], above[above >= 0]
        return path

    def states(self, rows: Int[np.ndarray, ...]) -> np.ndarray:
        """States of the rows, copied from the files: [*rows.shape, *state_shape]; zeros for row -1."""
        flat = np.asarray(rows).reshape(-1)
        states = np.zeros((len(flat), *self.state_shape), self.state_dtype)
        held = np.flatnonzero(flat >= 0)
        chunk = self.chunk[flat[held]]
        order = held[np.argsort(chunk, kind="stable")]
        numbers, counts = np.unique(chunk, return_counts=True)
        parts = np.split(order, np.cumsum(counts[:-1]))[: len(numbers)]  # np.split of no rows returns one part
        for number, these in zip(numbers.tolist(), parts, strict=True):
            states[these] = self.chunks[number][self.offset[flat[these]]]
        return states.reshape(*np.shape(rows), *self.state_shape)

    def extended(self, columns: Mapping[str, np.ndarray], chunks: Mapping[int, np.ndarray]) -> Nodes:
        """Return the nodes with more rows appended."""
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), np.asarray(columns[name], dtype)])
            for name, dtype in COLUMNS.items()
        }
        return replace(self, **joined, chunks={**self.chunks, **chunks})

    def kept(self, keep: Bool[np.ndarray, " N"]) -> Nodes:
        """Return the rows of the mask alone. A child whose parent is dropped gets the parent MISSING."""
        new_row = new_rows(keep)
        columns: dict[str, Any] = {name: getattr(self, name)[keep] for name in COLUMNS}
        parent = columns["parent"]
        columns["parent"] = np.where(parent >= 0, new_row[np.maximum(parent, 0)], parent)
        used = set(np.unique(columns["chunk"]).tolist())
        return replace(self, **columns, chunks={number: self.chunks[number] for number in used})


def new_rows(keep: Bool[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """New row of each node; MISSING if it is dropped."""
    return np.where(keep, np.cumsum(keep) - 1, MISSING)


def no_nodes(state_shape: tuple[int, ...] = (), state_dtype: np.dtype | None = None) -> Nodes:
    """An empty view."""
    empty = {name: np.zeros(0, dtype) for name, dtype in COLUMNS.items()}
    return Nodes((), (), state_shape, state_dtype or np.dtype(np.float32), chunks={}, **empty)
