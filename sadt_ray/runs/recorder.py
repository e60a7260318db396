"""What a search leaves behind while it runs: trajectories, a line of metrics now and then."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sadt_ray.runs.directory import append_metrics
from sadt_ray.trajectories import TrajectoryWriter
from sadt_ray.tree.search import Search


class Progress(NamedTuple):
    """How far a search is."""

    simulations: int
    nfe: int
    rollouts_per_second: float
    mean_reward: float  # of the samples so far that are not -inf, unweighted: what is looked at, not what is drawn
    best_reward: float


class Recorder:
    """Called after every batch of results, records what is new. ``close`` writes what is left.

    Args:
        run: the run directory.
        method: name of the method, under which the records are filed.
        keep_trajectories: whether every node is written with its state.
        seconds_between: time between two lines of ``metrics.jsonl``.
    """

    def __init__(self, run: Path, method: str, keep_trajectories: bool = True, seconds_between: float = 0.5) -> None:
        self._run, self._method, self._seconds_between = run, method, seconds_between
        self._keep_trajectories = keep_trajectories
        self._started = self._last_line = time.perf_counter()
        self._writer: TrajectoryWriter | None = None
        self._num_nodes = 0
        self._num_rewards, self._num_finite, self._reward_sum, self._best = 0, 0, 0.0, -np.inf

    @property
    def seconds(self) -> float:
        """Wall-clock since the recorder was made."""
        return time.perf_counter() - self._started

    def __call__(self, search: Search) -> Progress:
        self._append_nodes(search)
        progress = self._progress(search)
        if time.perf_counter() - self._last_line >= self._seconds_between:
            self._write_line(progress)
        return progress

    def close(self, search: Search) -> None:
        """Write the rows and the line that are still to be written."""
        self._append_nodes(search)
        self._write_line(self._progress(search))
        if self._writer is not None:
            self._writer.flush()

    def _write_line(self, progress: Progress) -> None:
        self._last_line = time.perf_counter()
        append_metrics(self._run, {"seconds": self.seconds, "method": self._method, **progress._asdict()})

    def _progress(self, search: Search) -> Progress:
        _, rewards = search.sample_store.rewards()
        new = rewards[self._num_rewards :]
        self._num_rewards = len(rewards)
        finite = new[np.isfinite(new)]
        self._num_finite += len(finite)
        self._reward_sum += float(finite.sum())
        self._best = max(self._best, float(new.max(initial=-np.inf)))
        return Progress(
            simulations=search.simulations,
            nfe=int(search.nfe.sum()),
            rollouts_per_second=search.simulations / max(self.seconds, 1e-9),
            mean_reward=self._reward_sum / self._num_finite if self._num_finite else -np.inf,
            best_reward=self._best,
        )

    def _append_nodes(self, search: Search) -> None:
        """Nodes that were not there at the last call."""
        if not self._keep_trajectories:
            return
        if self._writer is None:
            states = search.states.values
            directory = self._run / "trajectories" / self._method
            self._writer = TrajectoryWriter(directory, search.names, states.shape[1:], states.dtype)
        new = slice(self._num_nodes, len(search.tree))
        self._num_nodes = len(search.tree)
        if new.start == new.stop:
            return
        tree = search.tree
        level = tree.column("level")[new]
        self._writer.append(
            problem=search.problem_of_nodes(new.start),
            node=np.arange(new.start, new.stop),
            parent=tree.column("parent")[new],
            level=level,
            state=search.states.values[new],
            log_flow=tree.column("log_flow")[new],
            reward=np.where(level == search.num_levels, tree.column("value")[new], np.nan),
        )
