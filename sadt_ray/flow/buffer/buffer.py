"""The buffer: follows directories of trajectories while they grow, and drops the oldest rows."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from sadt_ray.flow.buffer.following import Chunk, Follower, trajectory_directories
from sadt_ray.flow.buffer.ids import RowOfNode
from sadt_ray.flow.buffer.nodes import ROOT, new_rows, no_nodes
from sadt_ray.trajectories.schema import facts_of, state_shape_of

_SLACK = 20  # drop a twentieth of the bound at once, so a row is moved about twenty times and not at every refresh


class TrajectoryBuffer:
    """The nodes that searches have written so far. ``refresh`` adds new ones.

    The states stay in the files, memory-mapped. The other columns need about 60 bytes of memory per node.

    Args:
        paths: directories of trajectories, or runs, or directories of either. A METHOD/ that appears later is found.
        max_rows: largest number of nodes, without roots. The oldest nodes are dropped first; roots are kept.
        max_age_seconds: age at which a node is dropped.
        allow_empty: whether the paths may have no trajectories yet.
        clock: function that returns the time, in seconds since 1970.

    Attributes:
        nodes: the view of all nodes. Its row numbers hold until the next ``refresh``.
        facts: facts about the search, one dictionary for each of ``nodes.directories``.

    Raises:
        ValueError: for a path without trajectories, another schema version, states of different shapes, or a bound
            that is not positive.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        max_rows: int | None = None,
        max_age_seconds: float | None = None,
        allow_empty: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        for name, bound in (("max_rows", max_rows), ("max_age_seconds", max_age_seconds)):
            if bound is not None and not bound > 0:
                raise ValueError(f"{name} must be None or a positive number, got {bound}")
        if not paths:
            raise ValueError("a buffer needs at least one path")
        self._paths = [Path(path) for path in paths]
        self._max_rows, self._max_age, self._clock = max_rows, max_age_seconds, clock
        self._numbers = itertools.count()
        self._followers: dict[Path, Follower] = {}
        self._ids: list[RowOfNode] = []
        self._problems: dict[str, int] = {}
        self.facts: list[dict[str, Any]] = []
        self.nodes = no_nodes()
        if not allow_empty:
            self._check_paths()
        self.refresh()

    def __len__(self) -> int:
        return len(self.nodes)

    def refresh(self) -> int:
        """Read new rows and drop those beyond the bounds. Returns the number of rows read."""
        self._find_directories()
        fresh: list[tuple[int, Chunk]] = []
        gone: list[int] = []
        for directory, follower in enumerate(self._followers.values()):
            changes = follower.poll()
            fresh += [(directory, chunk) for chunk in changes.fresh]
            gone += changes.gone
            moved = {number: states for number, states in changes.moved.items() if number in self.nodes.chunks}
            self.nodes = replace(self.nodes, chunks={**self.nodes.chunks, **moved}) if moved else self.nodes
        if gone:
            self._keep(~np.isin(self.nodes.chunk, gone))
        if fresh:
            self._add(sorted(fresh, key=lambda found: found[1].written))
        self._forget()
        return sum(len(chunk.states) for _, chunk in fresh)

    def _check_paths(self) -> None:
        for path in self._paths:
            if not trajectory_directories(path):
                what = "holds no trajectories" if path.exists() else "does not exist"
                raise ValueError(
                    f"{path} {what}; `python -m jobs.search --out RUN` writes them to RUN/trajectories/METHOD/"
                )

    def _find_directories(self) -> None:
        for path in self._paths:
            for directory in trajectory_directories(path):
                key = directory.resolve()
                if key not in self._followers:
                    self._followers[key] = Follower(directory, self._numbers)
                    self._ids.append(RowOfNode())
                    self.facts.append({})
        directories = tuple(follower.directory for follower in self._followers.values())
        if directories != self.nodes.directories:
            self.nodes = replace(self.nodes, directories=directories)

    def _add(self, fresh: list[tuple[int, Chunk]]) -> None:
        """Append the rows of chunks, in this order."""
        for directory, chunk in fresh:
            self._check_states(chunk, self.nodes.directories[directory])
            self.facts[directory] = facts_of(chunk.schema)
        chunks = [chunk for _, chunk in fresh]
        counts = [len(chunk.states) for chunk in chunks]
        columns = {
            name: np.concatenate([chunk.columns[name] for chunk in chunks])
            for name in ("node", "parent", "level", "log_flow", "log_ratio", "reward")
        }
        columns["problem"] = np.concatenate([self._problem_of(chunk) for chunk in chunks])
        columns["directory"] = np.repeat([directory for directory, _ in fresh], counts)
        columns["written"] = np.repeat([chunk.written for chunk in chunks], counts)
        columns["chunk"] = np.repeat([chunk.number for chunk in chunks], counts)
        columns["offset"] = np.concatenate([np.arange(count) for count in counts])
        columns["parent"] = self._parent_rows(columns)
        self.nodes = self.nodes.extended(columns, {chunk.number: chunk.states for chunk in chunks})
        self.nodes = replace(self.nodes, names=tuple(self._problems))

    def _check_states(self, chunk: Chunk, directory: Path) -> None:
        """Raise ValueError unless the states have the shape and type of the first chunk."""
        shape, dtype = state_shape_of(chunk.schema), chunk.states.dtype
        if not self._problems:
            self.nodes = replace(self.nodes, state_shape=shape, state_dtype=dtype)
        elif (shape, dtype) != (self.nodes.state_shape, self.nodes.state_dtype):
            raise ValueError(
                f"{directory} holds states {shape} of {dtype}, but the earlier ones are {self.nodes.state_shape} of "
                f"{self.nodes.state_dtype}; give directories of searches with the same process"
            )
        for name in chunk.names:
            self._problems.setdefault(name, len(self._problems))

    def _problem_of(self, chunk: Chunk) -> Int[np.ndarray, " R"]:
        return np.array([self._problems[name] for name in chunk.names], np.int32)[chunk.columns["problem"]]

    def _parent_rows(self, columns: dict[str, np.ndarray]) -> Int[np.ndarray, " R"]:
        first, of = len(self), columns["directory"]
        parent = np.empty(len(of), np.int64)
        for directory in np.unique(of).tolist():
            mine = np.flatnonzero(of == directory)
            self._ids[directory].add(columns["node"][mine], first + mine)
            parent[mine] = self._ids[directory].find(columns["parent"][mine])
        return np.where(columns["parent"] == -1, ROOT, parent)

    def _forget(self) -> None:
        """Drop the rows beyond the bounds, and ``1 / _SLACK`` more."""
        if self._max_rows is None and self._max_age is None:
            return
        rows = np.flatnonzero(self.nodes.parent != ROOT)
        written, now = self.nodes.written[rows], self._clock()
        keep = np.ones(len(self), bool)
        if self._max_rows is not None and len(rows) > self._max_rows:
            keep[rows[: len(rows) - self._max_rows + self._max_rows // _SLACK]] = False
        if self._max_age is not None and (written < now - self._max_age).any():
            keep[rows[written < now - self._max_age * (1 - 1 / _SLACK)]] = False
        if not keep.all():
            self._keep(keep)

    def _keep(self, keep: Bool[np.ndarray, " N"]) -> None:
        moved = new_rows(keep)
        for ids in self._ids:
            ids.keep(moved)
        self.nodes = self.nodes.kept(keep)
