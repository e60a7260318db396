"""What a search leaves behind while it runs: trajectories, a line of metrics now and then, and when batches ran."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sadt_ray.config import settings_of
from sadt_ray.engine.executor import BatchTimes
from sadt_ray.engine.loop import SearchStats
from sadt_ray.runs.batch_log import BatchLog
from sadt_ray.runs.directory import append_metrics, remove_metrics_after
from sadt_ray.trajectories import FIRST_PARTICLE, TrajectoryWriter
from sadt_ray.tree.search import Search

Times = Callable[[], Sequence[BatchTimes]]


class Recorder:
    """An observer that records after every batch what is new, and at the end what is left.

    Args:
        run: the run directory.
        method: name of the method, under which the records are filed.
        keep_trajectories: whether every node is written with its state, and every recorded particle.
        resume: ``checkpoint_facts`` of the recorder to continue. What that one recorded later is removed.
        facts: what readers of the trajectories should know beside the search's own settings.
        batch_times: asked for the times of finished batches whenever a line is written.

    Attributes:
        seconds: of the search when it was last observed, including the time before it was resumed.
    """

    def __init__(
        self,
        run: Path,
        method: str,
        keep_trajectories: bool = True,
        resume: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
        batch_times: Times = list,
    ) -> None:
        self._run, self._method = run, method
        self._keep_trajectories, self._batch_times = keep_trajectories, batch_times
        before = resume or {"seconds": 0.0, "nodes": 0, "parts": None}
        self.seconds = float(before["seconds"])
        self._written: Mapping[str, float] = {}  # the gauges of the last line
        self._num_nodes, self._num_parts = before["nodes"], before["parts"]
        self._num_particles = before.get("harvested", 0)
        self._facts = dict(facts or {})
        self._writer: TrajectoryWriter | None = None
        if resume is not None:
            remove_metrics_after(run, method, before["seconds"])
        self._batches = BatchLog(run, method, None if resume is None else before["seconds"])

    def after_batch(self, search: Search, stats: SearchStats) -> None:
        """Record what is new, with a line of metrics whenever the gauges were renewed."""
        self.seconds = stats.seconds
        self._append_rows(search)
        if stats.gauges and stats.gauges is not self._written:
            self._write_line(stats)

    def at_end(self, search: Search, stats: SearchStats) -> None:
        """Write the rows and the line that are still to be written."""
        self.seconds = stats.seconds
        self._finish_part(search)
        search.keep_particle_records = False
        self._write_line(stats)

    def open(self, search: Search) -> None:
        """Make the place for trajectories before the first batch.

        Raises ValueError if it holds those of another search, or not those that are to be continued.
        """
        if self._keep_trajectories and self._writer is None:
            states = search.states.values
            directory = self._run / "trajectories" / self._method
            if self._num_parts and not directory.exists():  # resumed in another place: from the root again
                self._num_nodes = self._num_parts = 0
            about = {"method": self._method, "num_levels": search.num_levels, "config": settings_of(search.config)}
            facts = {**self._facts, **about}
            self._writer = TrajectoryWriter(
                directory, search.names, states.shape[1:], states.dtype, facts, continue_after=self._num_parts
            )
            search.keep_particle_records = True

    def checkpoint_facts(self, search: Search) -> dict[str, Any]:
        """``facts`` after all rows so far are written: what is saved with a checkpoint of the search as it is now."""
        self._finish_part(search)
        return self.facts(search)

    def facts(self, search: Search) -> dict[str, Any]:
        """What a recorder continues from: time passed, and how much of the search is in files."""
        return {
            "seconds": self.seconds,
            "nodes": self._num_nodes,
            "harvested": self._num_particles,  # the name that checkpoints have always had
            "parts": self._writer.num_parts if self._writer is not None else 0,
        }

    def _finish_part(self, search: Search) -> None:
        self._append_rows(search)
        if self._writer is not None:
            self._writer.finish_part()

    def _write_line(self, stats: SearchStats) -> None:
        append_metrics(self._run, {**stats.figures(), "method": self._method})
        self._batches.append(self._batch_times(), time.perf_counter() - stats.seconds)
        self._written = stats.gauges

    def _append_rows(self, search: Search) -> None:
        """Nodes and particles that were not there at the last call; without any, rows that have waited go out."""
        self.open(search)
        if self._writer is None:
            return
        self._append_nodes(search, self._writer)
        for recorded in search.take_particle_records():
            rows = recorded.rows(FIRST_PARTICLE + self._num_particles)
            self._num_particles += len(rows["node"])
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
