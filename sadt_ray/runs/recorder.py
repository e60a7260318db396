"""What a search leaves behind while it runs: trajectories, a line of metrics now and then, and when batches ran."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sadt_ray.batch_times import BatchTimes
from sadt_ray.runs.batch_log import BatchLog
from sadt_ray.runs.directory import append_metrics, remove_metrics_after
from sadt_ray.trajectories import FIRST_PARTICLE, TrajectoryWriter
from sadt_ray.tree.search import Search


class Progress(NamedTuple):
    """How far a search is."""

    simulations: int
    nfe: int
    rollouts_per_second: float  # of this process
    mean_reward: float  # of the samples so far that are not -inf, unweighted: what is looked at, not what is drawn
    best_reward: float


Gauges = Callable[[], Mapping[str, float]]
Times = Callable[[], Sequence[BatchTimes]]


class _Line(NamedTuple):
    """What the rates of the next line of metrics are counted from."""

    seconds: float
    simulations: int
    nfe: int


class Recorder:
    """Called after every batch of results, records what is new. ``close`` writes what is left.

    Args:
        run: the run directory.
        method: name of the method, under which the records are filed.
        keep_trajectories: whether every node is written with its state, and every particle beside the tree.
        seconds_between: time between two lines of ``metrics.jsonl``.
        resume: ``checkpoint_facts`` of the recorder to continue. What that one recorded later is removed.
        facts: what readers of the trajectories should know beside the search's own settings.
        particles: of each simulation; each counts as a rollout.

    Attributes:
        last_line: the last line of ``metrics.jsonl``; empty before the first.
    """

    def __init__(
        self,
        run: Path,
        method: str,
        keep_trajectories: bool = True,
        seconds_between: float = 0.5,
        resume: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
        particles: int = 1,
    ) -> None:
        self._particles = particles
        self._run, self._method, self._seconds_between = run, method, seconds_between
        self._keep_trajectories = keep_trajectories
        before = resume or {"seconds": 0.0, "simulations": 0, "nfe": 0, "nodes": 0, "parts": None}
        self._first = self._last = _Line(before["seconds"], before["simulations"], before["nfe"])
        self._num_nodes, self._num_parts = before["nodes"], before["parts"]
        self._num_harvested = before.get("harvested", 0)
        self._started = time.perf_counter() - before["seconds"]
        self._facts = dict(facts or {})
        self._writer: TrajectoryWriter | None = None
        self._num_rewards, self._num_finite, self._reward_sum, self._best = 0, 0, 0.0, -np.inf
        self.last_line: Mapping[str, Any] = {}
        if resume is not None:
            remove_metrics_after(run, method, before["seconds"])
        self._batches = BatchLog(run, method, None if resume is None else before["seconds"])

    @property
    def seconds(self) -> float:
        """Wall-clock since the recorder was made, with that of those it continues."""
        return time.perf_counter() - self._started

    def _line_is_due(self) -> bool:
        return self.seconds - self._last.seconds >= self._seconds_between

    def __call__(self, search: Search, gauges: Gauges = dict, times: Times = list) -> Progress:
        """Record what is new; ``gauges`` and ``times`` are the executor's, asked when a line of metrics is due."""
        self._append_rows(search)
        progress = self._progress(search)
        if self._line_is_due():
            self._write_line(search, progress, gauges(), times())
        return progress

    def open(self, search: Search) -> None:
        """Make the place for trajectories before the first batch.

        Raises ValueError if it holds those of another search, or not those that are to be continued.
        """
        if self._keep_trajectories and self._writer is None:
            states = search.states.values
            directory = self._run / "trajectories" / self._method
            if self._num_parts and not directory.exists():  # resumed in another place: from the root again
                self._num_nodes = self._num_parts = 0
            about = {"method": self._method, "num_levels": search.num_levels, "config": asdict(search.config)}
            facts = {**self._facts, **about}
            self._writer = TrajectoryWriter(
                directory, search.names, states.shape[1:], states.dtype, facts, continue_after=self._num_parts
            )
            search.keep_harvest = True

    def close(self, search: Search, gauges: Gauges = dict, times: Times = list) -> None:
        """Write the rows and the line that are still to be written."""
        self._finish_part(search)
        search.keep_harvest = False
        self._write_line(search, self._progress(search), gauges(), times())

    def checkpoint_facts(self, search: Search) -> dict[str, Any]:
        """``facts`` after all rows so far are written: what is saved with a checkpoint of the search as it is now."""
        self._finish_part(search)
        return self.facts(search)

    def facts(self, search: Search) -> dict[str, Any]:
        """What a recorder continues from: time passed, and how much of the search is in files."""
        return {
            "seconds": self.seconds,
            "simulations": search.simulations,
            "nfe": int(search.nfe.sum()),
            "nodes": self._num_nodes,
            "harvested": self._num_harvested,
            "parts": self._writer.num_parts if self._writer is not None else 0,
        }

    def _finish_part(self, search: Search) -> None:
        self._append_rows(search)
        if self._writer is not None:
            self._writer.finish_part()

    def _write_line(
        self, search: Search, progress: Progress, gauges: Mapping[str, float], times: Sequence[BatchTimes]
    ) -> None:
        line = _Line(self.seconds, progress.simulations, progress.nfe)
        interval = max(line.seconds - self._last.seconds, 1e-9)
        self.last_line = {
            **gauges,
            "seconds": line.seconds,
            "method": self._method,
            **progress._asdict(),
            "simulations_per_second": (line.simulations - self._last.simulations) / interval,
            "nfe_per_second": (line.nfe - self._last.nfe) / interval,
            "in_flight": int((search.asked - search.told - search.forgotten).sum()),
            "nodes": len(search.tree),
            "set_aside": len(search.failures),
        }
        append_metrics(self._run, self.last_line)
        self._batches.append(times, self._started)
        self._last = line

    def _progress(self, search: Search) -> Progress:
        _, rewards = search.sample_store.rewards()
        new = rewards[self._num_rewards :]
        self._num_rewards = len(rewards)
        finite = new[np.isfinite(new)]
        self._num_finite += len(finite)
        self._reward_sum += float(finite.sum())
        self._best = max(self._best, float(new.max(initial=-np.inf)))
        since = self._first
        rollouts = (search.simulations - since.simulations) * self._particles
        return Progress(
            simulations=search.simulations,
            nfe=int(search.nfe.sum()),
            rollouts_per_second=rollouts / max(self.seconds - since.seconds, 1e-9),
            mean_reward=self._reward_sum / self._num_finite if self._num_finite else -np.inf,
            best_reward=self._best,
        )

    def _append_rows(self, search: Search) -> None:
        """Nodes and particles that were not there at the last call; without any, rows that have waited go out."""
        self.open(search)
        if self._writer is None:
            return
        self._append_nodes(search, self._writer)
        for harvested in search.take_harvest():
            rows = harvested.rows(FIRST_PARTICLE + self._num_harvested)
            self._num_harvested += len(rows["node"])
            self._writer.append(**rows)

    def _append_nodes(self, search: Search, writer: TrajectoryWriter) -> None:
        new = slice(self._num_nodes, len(search.tree))
        self._num_nodes = len(search.tree)
        tree = search.tree
        level = tree.column("level")[new]
        writer.append(
            problem=search.problem_of_nodes(new.start),
            node=np.arange(new.start, new.stop),
            parent=tree.column("parent")[new],
            level=level,
            state=search.states.values[new],
            log_flow=tree.column("log_flow")[new],
            reward=np.where(level == search.num_levels, tree.column("value")[new], np.nan),
        )
