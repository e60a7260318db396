"""The buffer: follows directories of trajectories while they grow, forgets the oldest, and draws from what it holds."""

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
from sadt_ray.flow.buffer.nodes import ROOT, Nodes, new_rows, no_nodes
from sadt_ray.flow.buffer.sampling import RowSampler
from sadt_ray.trajectories.schema import facts_of, state_shape_of

_SLACK = 20  # when something must go, a twentieth of the bound goes: each row is then moved twenty times, not always


class TrajectoryBuffer:
    """What searches have written, and write. States stay in the files, memory-mapped; 60 bytes a node do not.

    Args:
        paths: directories of trajectories, or runs, or directories of either; a METHOD/ that appears later is found.
        max_rows: nodes held at most; the oldest go first. Roots are not counted, and stay.
        max_age_seconds: nodes written longer ago go.
        allow_empty: whether there may be nothing yet.
        clock: seconds since 1970.

    Attributes:
        nodes: what is held; rows are those of this view until the next ``refresh``.
        facts: of each of ``nodes.directories``, what its writer was given to remember.

    Raises:
        ValueError: for a path without trajectories, another schema version, or states of different shapes.
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
        self._samplers: dict[Any, RowSampler] = {}
        self.facts: list[dict[str, Any]] = []
        self.nodes = no_nodes()
        if not allow_empty:
            self._check_paths()
        self.refresh()

    def __len__(self) -> int:
        return len(self.nodes)

    def refresh(self) -> int:
        """Read what has been written since, forget what is too old or too much; returns the rows read."""
        self._find_directories()
        fresh: list[tuple[int, Chunk]] = []
        gone: list[int] = []
        for directory, follower in enumerate(self._followers.values()):
            news = follower.look()
            fresh += [(directory, chunk) for chunk in news.fresh]
            gone += news.gone
            moved = {number: states for number, states in news.moved.items() if number in self.nodes.chunks}
            self.nodes = replace(self.nodes, chunks={**self.nodes.chunks, **moved}) if moved else self.nodes
        if gone:
            self._keep(~np.isin(self.nodes.chunk, gone))
        if fresh:
            self._add(sorted(fresh, key=lambda found: found[1].written))
        self._forget()
        return sum(len(chunk.states) for _, chunk in fresh)

    def sample_leaves(
        self,
        n: int,
        rng: np.random.Generator,
        half_life: float | None = None,
        balance_problems: bool = True,
        whole_paths: bool = False,
    ) -> Int[np.ndarray, " n"]:
        """Rows of x_0, drawn with replacement.

        Args:
            half_life: in rows: one with so many more written after it is drawn half as often. None for uniformly.
            balance_problems: every problem that has any is drawn alike.
            whole_paths: only those whose nodes are held up to the root.

        Raises ValueError if there are none.
        """
        kind = "leaves", whole_paths, half_life, balance_problems

        def eligible(nodes: Nodes) -> tuple[np.ndarray, np.ndarray]:
            rows = np.flatnonzero(nodes.is_leaf & nodes.reaches_root if whole_paths else nodes.is_leaf)
            return rows, rows

        return self._draw(kind, eligible, n, rng)

    def sample_families(
        self,
        n: int,
        rng: np.random.Generator,
        half_life: float | None = None,
        balance_problems: bool = True,
        min_siblings: int = 2,
    ) -> Int[np.ndarray, " n"]:
        """Rows of nodes with at least ``min_siblings`` children, drawn with replacement; roots are among them.

        A family is as old as its youngest child. The other arguments and errors are those of ``sample_leaves``.
        """
        if min_siblings < 1:
            raise ValueError(f"min_siblings must be at least 1, got {min_siblings}")
        kind = f"nodes with {min_siblings} children", half_life, balance_problems

        def eligible(nodes: Nodes) -> tuple[np.ndarray, np.ndarray]:
            rows = np.flatnonzero(nodes.num_children >= min_siblings)
            splits, children = nodes.all_children
            return rows, children[splits[rows + 1] - 1]

        return self._draw(kind, eligible, n, rng)

    def _draw(
        self,
        kind: tuple[Any, ...],
        eligible: Callable[[Nodes], tuple[np.ndarray, np.ndarray]],
        n: int,
        rng: np.random.Generator,
    ) -> Int[np.ndarray, " n"]:
        """``eligible`` gives rows, and the rows that their age counts from."""
        if kind not in self._samplers:
            rows, newest = eligible(self.nodes)
            if len(rows) == 0:
                raise ValueError(f"the buffer holds {len(self)} nodes, none of the {kind[0]} asked for")
            *_, half_life, balance = kind
            problem = self.nodes.problem[rows] if balance else None
            self._samplers[kind] = RowSampler(rows, len(self) - newest.astype(float), half_life, problem)
        return self._samplers[kind].draw(n, rng)

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
        """Rows of chunks, in this order."""
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
        self._samplers.clear()

    def _check_states(self, chunk: Chunk, directory: Path) -> None:
        """The first chunk decides on shape and type."""
        shape, dtype = state_shape_of(chunk.schema), chunk.states.dtype
        if not self._problems:
            self.nodes = replace(self.nodes, state_shape=shape, state_dtype=dtype)
        elif (shape, dtype) != (self.nodes.state_shape, self.nodes.state_dtype):
            raise ValueError(
                f"{directory} holds states {shape} of {dtype}, those before are {self.nodes.state_shape} of "
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
        """What the bounds forbid, and a little more."""
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
        self._samplers.clear()
